// A layer of a Kolmogorov-Arnold network (Liu et al. 2024): every edge is a cubic B-spline plus a weighted SiLU.
//
// Four of an edge's basis functions live at any x, so a point reads four rows of spline weights and one of base weights
// per input; lanes are outputs.
#include "lanes_fields.h"
#include "maths/kan.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {
namespace {

constexpr int kPoints = 32;  // points per block: activations of a block stay in the first two cache levels
constexpr int kTerms = 5;    // four basis functions and the base branch
constexpr int kBase = 4;
constexpr int kInputGroup = 8;

VISAVIS_INLINE vf sigmoid(vf x) {
  const vf power = max(min(x * -1.4426950408889634f, broadcast(126.f)), broadcast(-126.f));
  return 1.f / (1.f + exp2(power));
}

// What depends on x alone, for a block of points: one value per (point, input) and term, and where its weights begin.
struct Activations {
  int stride;            // values of a block, padded to whole vectors
  float* term[kTerms];
  float* slope[kTerms];  // null in the forward pass
  int32_t* offset;       // floats from the first weight of the input to its first row in use

  VISAVIS_INLINE Activations in(float* scratch, const KanView& v, bool slopes) {
    Activations a{};
    a.stride = (kPoints * v.inputs + kPointPad - 1) / kPointPad * kPointPad;
    a.offset = reinterpret_cast<int32_t*>(scratch);
    for (int k = 0; k < kTerms; k++) {
      a.term[k] = scratch + (1 + k) * (int64_t)a.stride;
      a.slope[k] = slopes ? scratch + (1 + kTerms + k) * (int64_t)a.stride : nullptr;
    }
    return a;
  }
};

VISAVIS_INLINE void activate_lanes(const KanView& v, vf x, int at, const Activations& a) {
  const vf places = (x - v.low) * v.inverse_step + (float)kSplineRim;  // 0 at the first knot
  const int cells = v.bases + kSplineRim;
  const vf inside = max(min(places, broadcast((float)cells)), broadcast(0.f));
  vi cell = truncate(inside);
  cell = cell < cells - 1 ? cell : cells - 1 - (vi){};
  const vf u = inside - to_float(cell);
  vf terms[kTerms], slopes[kTerms];
  maths::cubic_basis(u, terms);
  const vf gate = sigmoid(x);
  terms[kBase] = x * gate;
  const vi keep = (places >= 0.f) & (places < (float)cells);  // no basis function lives farther out
  for (int k = 0; k < kTerms; k++) store(a.term[k] + at, k < kBase ? (vf)((vi)terms[k] & keep) : terms[k]);
  if (a.slope[0]) {
    maths::cubic_basis_slope(u, slopes);
    for (int k = 0; k < kBase; k++) store(a.slope[k] + at, (vf)((vi)(slopes[k] * v.inverse_step) & keep));
    store(a.slope[kBase] + at, maths::silu_slope(x, gate));
  }
  const vi offset = cell * v.padded;
  memcpy(a.offset + at, &offset, sizeof offset);
}

void activate(const KanView& v, int first, int points, const Activations& a) {
  const float* x = v.x + (int64_t)first * v.inputs;
  const int values = points * v.inputs;
  int i = 0;
  for (; i + kLanes <= values; i += kLanes) activate_lanes(v, load(x + i), i, a);
  if (i < values) {
    float rest[kLanes] = {};
    memcpy(rest, x + i, sizeof(float) * (values - i));
    activate_lanes(v, load(rest), i, a);
  }
}

// Outputs [o, o + V lanes) of P points.
template <int P, int V>
VISAVIS_INLINE void sum_outputs(const KanView& v, const Activations& a, int point, int o, vf (&sums)[P][V]) {
  const int64_t per_input = (int64_t)v.rows() * v.padded, base = per_input - v.padded;
  for (int p = 0; p < P; p++)
    for (int j = 0; j < V; j++) sums[p][j] = vf{};
  const float* weights = v.weights + o;
  for (int i = 0; i < v.inputs; i++, weights += per_input)
    for (int p = 0; p < P; p++) {
      const int at = (point + p) * v.inputs + i;
      const float* rows = weights + a.offset[at];
      for (int k = 0; k < kBase; k++, rows += v.padded)
        for (int j = 0; j < V; j++)
          sums[p][j] = fma(broadcast(a.term[k][at]), load(rows + j * kLanes), sums[p][j]);
      for (int j = 0; j < V; j++)
        sums[p][j] = fma(broadcast(a.term[kBase][at]), load(weights + base + j * kLanes), sums[p][j]);
    }
}

VISAVIS_INLINE void write_outputs(const KanView& v, int64_t point, int o, vf value) {
  float* y = v.y + point * v.outputs + o;
  if (o + kLanes <= v.outputs) return store(y, value);
  float part[kLanes];
  store(part, value);
  for (int l = 0; l < v.outputs - o; l++) y[l] = part[l];
}

template <int P, int V>
VISAVIS_INLINE void forward_points(const KanView& v, const Activations& a, int first, int point, int o) {
  vf sums[P][V];
  sum_outputs<P, V>(v, a, point, o, sums);
  for (int p = 0; p < P; p++)
    for (int j = 0; j < V; j++)
      if (o + j * kLanes < v.outputs) write_outputs(v, first + point + p, o + j * kLanes, sums[p][j]);
}

template <int V>
void forward_block(const KanView& v, const Activations& a, int first, int points, int o) {
  int p = 0;
  for (; p + 4 <= points; p += 4) forward_points<4, V>(v, a, first, p, o);
  for (; p < points; p++) forward_points<1, V>(v, a, first, p, o);
}

// What the loops below read of a layer, by value: a store to floats would else make the compiler read it all again.
struct Edges {
  int inputs, padded;
  int64_t per_input, base;  // floats of an input's weights, and where among them the base branch begins
  explicit Edges(const KanView& v)
      : inputs(v.inputs), padded(v.padded), per_input((int64_t)v.rows() * v.padded), base(per_input - v.padded) {}
};

// Adds one point's part of the gradients of all weights to V vectors of outputs.
template <int V>
VISAVIS_INLINE void add_weight_gradients(const Edges e, const Activations a, int first_value, const vf (&slopes)[V],
                                         float* weights) {
  for (int i = 0; i < e.inputs; i++, weights += e.per_input) {
    const int at = first_value + i;
    float* rows = weights + a.offset[at];
    vf terms[kTerms];
    for (int k = 0; k < kTerms; k++) terms[k] = broadcast(a.term[k][at]);
    for (int j = 0; j < V; j++) {
      for (int k = 0; k < kBase; k++) {
        float* row = rows + k * e.padded + j * kLanes;
        store(row, fma(terms[k], slopes[j], load(row)));
      }
      float* row = weights + e.base + j * kLanes;
      store(row, fma(terms[kBase], slopes[j], load(row)));
    }
  }
}

// The slope of an edge's function times the gradients of V vectors of outputs, output by output.
template <int V>
VISAVIS_INLINE vf edge_slopes(const Edges e, const Activations a, int at, const vf (&slopes)[V], const float* weights) {
  const float* rows = weights + a.offset[at];
  vf terms[kTerms], total = {};
  for (int k = 0; k < kTerms; k++) terms[k] = broadcast(a.slope[k][at]);
  for (int j = 0; j < V; j++) {
    vf edge = terms[kBase] * load(weights + e.base + j * kLanes);
    for (int k = 0; k < kBase; k++) edge = fma(terms[k], load(rows + k * e.padded + j * kLanes), edge);
    total = fma(edge, slopes[j], total);
  }
  return total;
}

// Adds V vectors of outputs to grad_x of one point, or begins it.
template <int V>
VISAVIS_INLINE void add_input_gradients(const Edges e, const Activations a, int first_value, const vf (&slopes)[V],
                                        const float* weights, float* grad_x, bool begin) {
  for (int first = 0; first < e.inputs; first += kInputGroup) {
    const int count = imin(kInputGroup, e.inputs - first);
    vf dots[kInputGroup] = {};
    for (int g = 0; g < count; g++)
      dots[g] = edge_slopes<V>(e, a, first_value + first + g, slopes, weights + (first + g) * e.per_input);
    float sums[16];
    sum_each<kInputGroup>(dots, sums);
    for (int g = 0; g < count; g++) grad_x[first + g] = begin ? sums[g] : grad_x[first + g] + sums[g];
  }
}

// V vectors of outputs, from `o` on, of a block of points.
template <int V>
void backward_block(const KanView& v, const Activations& a, const float* slopes, int first, int points, int o) {
  const Edges e(v);
  for (int p = 0; p < points; p++) {
    vf mine[V];
    for (int j = 0; j < V; j++) mine[j] = load(slopes + (int64_t)p * e.padded + o + j * kLanes);
    add_weight_gradients<V>(e, a, p * e.inputs, mine, v.grad_weights + o);
    if (v.grad_x)
      add_input_gradients<V>(e, a, p * e.inputs, mine, v.weights + o, v.grad_x + (int64_t)(first + p) * e.inputs, o == 0);
  }
}

VISAVIS_INLINE int64_t activation_floats(const KanView& v) {
  return (int64_t)(1 + 2 * kTerms) * ((kPoints * v.inputs + kPointPad - 1) / kPointPad * kPointPad);
}

}  // namespace

int64_t kan_scratch(const KanView& v) { return activation_floats(v) + (int64_t)kPoints * v.padded; }

void kan(const KanView& v, int begin, int end, float* scratch) {
  const Activations a = Activations::in(scratch, v, false);
  for (int first = begin; first < end; first += kPoints) {
    const int points = imin(kPoints, end - first);
    activate(v, first, points, a);
    int o = 0;
    for (; o + 2 * kLanes <= v.padded; o += 2 * kLanes) forward_block<2>(v, a, first, points, o);
    for (; o < v.padded; o += kLanes) forward_block<1>(v, a, first, points, o);
  }
}

void kan_backward(const KanView& v, int begin, int end, float* scratch) {
  const Activations a = Activations::in(scratch, v, true);
  float* slopes = scratch + activation_floats(v);
  memset(slopes, 0, sizeof(float) * kPoints * v.padded);
  for (int first = begin; first < end; first += kPoints) {
    const int points = imin(kPoints, end - first);
    activate(v, first, points, a);
    for (int p = 0; p < points; p++)
      memcpy(slopes + (int64_t)p * v.padded, v.grad_y + (int64_t)(first + p) * v.outputs, sizeof(float) * v.outputs);
    int o = 0;
    for (; o + 2 * kLanes <= v.padded; o += 2 * kLanes) backward_block<2>(v, a, slopes, first, points, o);
    for (; o < v.padded; o += kLanes) backward_block<1>(v, a, slopes, first, points, o);
  }
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
