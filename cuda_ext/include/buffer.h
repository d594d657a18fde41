// Uninitialised, cache-line aligned memory that is kept for reuse. Only for the driver: see simd.h on inline functions.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace visavis {

// Grows, never shrinks, never initialises: its owner is recycled.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  T* reserve(size_t count) {
    if (count > capacity_) {
      const size_t bytes = ((count + count / 4 + 64) * sizeof(T) + 63) / 64 * 64;
      std::free(data_);
      capacity_ = 0;
      data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
      if (!data_) throw std::bad_alloc();
      capacity_ = bytes / sizeof(T);
    }
    return data_;
  }
  size_t bytes() const { return capacity_ * sizeof(T); }

 private:
  T* data_ = nullptr;
  size_t capacity_ = 0;
};

}  // namespace visavis
