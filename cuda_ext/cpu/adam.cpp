#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>

#include "field_ops.h"
#include "kernels.h"
#include "thread_pool.h"

namespace visavis {
namespace {

constexpr int64_t kChunk = 1 << 14;  // values per task: four arrays of them fit the second-level cache

struct Chunk {
  int tensor;
  int64_t begin, end;
};

}  // namespace

void adam_step(const std::vector<AdamTensor>& tensors) {
  std::vector<Chunk> chunks;
  for (int t = 0; t < (int)tensors.size(); t++)
    for (int64_t begin = 0; begin < tensors[t].count; begin += kChunk)
      chunks.push_back({t, begin, std::min(begin + kChunk, tensors[t].count)});
  const FieldKernels& k = kernels().fields;
  std::atomic<int> bad{(int)tensors.size()};
  parallel((int)chunks.size(), [&](int i) {
    const Chunk& c = chunks[i];
    if (k.all_finite(tensors[c.tensor].grad + c.begin, c.end - c.begin)) return;
    int first = bad.load();
    while (c.tensor < first && !bad.compare_exchange_weak(first, c.tensor)) {
    }
  });
  if (bad < (int)tensors.size())
    throw std::invalid_argument("gradient of tensor " + std::to_string(bad) + " holds a NaN or infinity: no tensor was changed");
  parallel((int)chunks.size(), [&](int i) { k.adam(tensors[chunks[i].tensor], chunks[i].begin, chunks[i].end); });
}

}  // namespace visavis
