#include <algorithm>

#include "field_ops.h"
#include "finite.h"
#include "kernels.h"
#include "thread_pool.h"

namespace visavis {

void apply_packed(const PackedView& view) {
  constexpr int64_t kBlocks = 256;  // per task
  require_finite(view.inputs, view.features, "features");
  const int64_t blocks = (view.rows + kPackedRows - 1) / kPackedRows;
  const FieldKernels& k = kernels().fields;
  parallel((int)((blocks + kBlocks - 1) / kBlocks),
           [&](int i) { k.packed(view, i * kBlocks, std::min((i + 1) * kBlocks, blocks)); });
}

}  // namespace visavis
