// Memory and control flow of one rasterised frame; knows nothing of Python or of vector widths.
#pragma once

#include <memory>

#include "buffer.h"
#include "frame.h"

namespace visavis {

struct FrameState {
  FrameView view{};

  // Set camera, n, inputs and rgb, alpha, depth of `view` first. Returns the number of Gaussians that hold a NaN or
  // infinity; unless it is 0, nothing was rendered.
  int64_t forward();
  // Set the gradients of `view` first; inputs and images must be those of the forward pass.
  void backward();
  size_t bytes() const;

 private:
  void scatter_pairs();

  Buffer<Splat> splats_;
  Buffer<uint32_t> chunk_tiles_, chunk_pairs_, chunk_bad_, tile_offsets_;
  Buffer<Pair> pairs_, scratch_;
  Buffer<float> slots_;
};

// A frame from the pool, given back when the pointer dies.
struct Recycle {
  void operator()(FrameState* frame) const;
};
using FramePointer = std::unique_ptr<FrameState, Recycle>;
FramePointer take_frame();

}  // namespace visavis
