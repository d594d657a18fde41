#include "bindings.h"
#include "field_ops.h"

namespace nb = nanobind;

namespace visavis {
namespace {

// param, grad, first moment, second moment
using AdamAddresses = std::array<Address, 4>;

void adam(const std::vector<AdamAddresses>& addresses, const std::vector<int64_t>& counts,
          const std::vector<AdamNumbers>& numbers) {
  std::vector<AdamTensor> tensors;
  tensors.reserve(addresses.size());
  for (size_t i = 0; i < addresses.size(); i++) {
    const auto& a = addresses[i];
    tensors.push_back(
        {floats(a[0]), floats(a[1]), floats(a[2]), floats(a[3]), counts[i], adam_rates(numbers[i])});
  }
  adam_step(tensors);
}

TriplaneView triplane_view(int n, int features, const std::vector<std::array<int64_t, 3>>& levels, Address table) {
  TriplaneView v{};
  v.n = n, v.features = features, v.levels = (int)levels.size(), v.table = floats(table);
  for (size_t i = 0; i < levels.size(); i++) {
    const auto [resolution, rows, hashed] = levels[i];
    v.level[i] = {(int)resolution, hashed ? (unsigned)rows - 1 : 0u, v.rows};
    v.rows += rows;
  }
  return v;
}

// inputs, outputs, basis functions
using KanShape = std::array<int, 3>;

KanView kan_view(int n, const KanShape& shape, std::array<float, 2> grid, Address x) {
  KanView v{};
  v.n = n, v.inputs = shape[0], v.outputs = shape[1], v.bases = shape[2];
  v.low = grid[0], v.inverse_step = grid[1], v.x = floats(x);
  return v;
}

}  // namespace

void register_fields(nb::module_& m) {
  m.def("adam", &adam, ReleaseGil(), nb::arg("addresses"), nb::arg("counts"), nb::arg("numbers"));

  m.def("packed_rows", [] { return kPackedRows; });
  m.def(
      "packed",
      [](int64_t rows, int features, bool half, Address data, Address scales, Address inputs, Address out) {
        apply_packed({rows, features, half ? PackedStorage::kHalf : PackedStorage::kInt8,
                      reinterpret_cast<const void*>(data), floats(scales), floats(inputs), floats(out)});
      },
      ReleaseGil(), nb::arg("rows"), nb::arg("features"), nb::arg("half"), nb::arg("data"), nb::arg("scales"),
      nb::arg("inputs"), nb::arg("out"));

  m.def("max_triplane_levels", [] { return kMaxLevels; });
  m.def(
      "triplane",
      [](int n, int features, const std::vector<std::array<int64_t, 3>>& levels, Address points, Address table,
         Address out) { triplane(triplane_view(n, features, levels, table), floats(points), floats(out)); },
      ReleaseGil(), nb::arg("n"), nb::arg("features"), nb::arg("levels"), nb::arg("points"), nb::arg("table"),
      nb::arg("out"));
  m.def(
      "triplane_backward",
      [](int n, int features, const std::vector<std::array<int64_t, 3>>& levels, std::array<Address, 3> inputs,
         std::array<Address, 2> gradients) {
        const auto [points, table, grad_out] = inputs;
        triplane_backward(triplane_view(n, features, levels, table), floats(points), floats(grad_out),
                          floats(gradients[0]), floats(gradients[1]));
      },
      ReleaseGil(), nb::arg("n"), nb::arg("features"), nb::arg("levels"), nb::arg("inputs"), nb::arg("gradients"));

  m.def(
      "kan",
      [](int n, KanShape shape, std::array<float, 2> grid, std::array<Address, 3> inputs, Address y) {
        KanView v = kan_view(n, shape, grid, inputs[0]);
        v.y = floats(y);
        kan(v, {floats(inputs[1]), floats(inputs[2])});
      },
      ReleaseGil(), nb::arg("n"), nb::arg("shape"), nb::arg("grid"), nb::arg("inputs"), nb::arg("y"));
  m.def(
      "kan_backward",
      [](int n, KanShape shape, std::array<float, 2> grid, std::array<Address, 4> inputs,
         std::array<Address, 3> gradients) {
        KanView v = kan_view(n, shape, grid, inputs[0]);
        v.grad_y = floats(inputs[3]), v.grad_x = floats(gradients[0]);
        kan_backward(v, {floats(inputs[1]), floats(inputs[2])}, {floats(gradients[1]), floats(gradients[2])});
      },
      ReleaseGil(), nb::arg("n"), nb::arg("shape"), nb::arg("grid"), nb::arg("inputs"), nb::arg("gradients"));
}

}  // namespace visavis
