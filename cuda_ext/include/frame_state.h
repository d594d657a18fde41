// Memory and control flow of one rasterised frame; knows nothing of Python or of vector widths.
#pragma once

#include <memory>
#include <new>
#include <string>
#include <vector>

#include "buffer.h"
#include "frame.h"

namespace visavis {

struct FrameState {
  FrameView view{};
  std::vector<Camera> cameras;  // all of one size

  // Set the cameras, and n, inputs and images of `view` first. Returns the number of Gaussians that hold a NaN or
  // infinity; unless it is 0, nothing was rendered. Throws OverLimit.
  int64_t forward();
  // Set the gradients of `view` first; inputs and images must be those of the forward pass. Throws OverLimit.
  void backward();
  size_t bytes() const;

 private:
  void scatter_pairs();
  void check_memory(size_t bytes) const;

  Buffer<Splat> splats_;
  Buffer<uint32_t> chunk_tiles_, chunk_bad_, tile_offsets_;
  Buffer<uint64_t> chunk_pairs_;
  Buffer<Pair> pairs_, scratch_;
  Buffer<float> splat_normals_, slots_, extra_slots_, chunk_views_;
  size_t needed_ = 0;  // bytes of the forward pass
};

// A frame would need more working memory than is allowed.
class OverLimit : public std::bad_alloc {
 public:
  OverLimit(size_t needed, size_t limit);
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

// Bytes of working memory that one frame may take, inputs and images not counted.
size_t get_memory_limit();
void set_memory_limit(size_t bytes);

// A frame from the pool, given back when the pointer dies.
struct Recycle {
  void operator()(FrameState* frame) const;
};
using FramePointer = std::unique_ptr<FrameState, Recycle>;
FramePointer take_frame();

}  // namespace visavis
