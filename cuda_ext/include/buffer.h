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
#ifdef VISAVIS_EXACT_BUFFERS  // with sanitizers: memory that ends where its content ends shows every stray access
    capacity_ = 0;
    const size_t spare = 0;
#else
    const size_t spare = count / 4 + 64;
#endif
    if (!data_ || count > capacity_) {  // never null, so that memset and memcpy may be told of nothing to do
      const size_t bytes = ((count + spare) * sizeof(T) + 63) / 64 * 64;
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
