// Hash tri-plane encoder: bilinear look-ups in three planes at several resolutions, and back.
//
// A table of one plane and level fits the second-level cache, so the points pass it in one go: outputs are gathered in
// columns (one per plane and level) and turned into rows afterwards. A plane and level is one task, so that its
// gradients need no atomics and come out in the order of the points.
#include "lanes_fields.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {
namespace {

template <int F>
struct Feature {
  typedef float Vector __attribute__((vector_size(F * 4)));
  typedef float Memory __attribute__((vector_size(F * 4), aligned(4), may_alias));
  VISAVIS_INLINE Vector read(const float* p) { return *reinterpret_cast<const Memory*>(p); }
  VISAVIS_INLINE void write(float* p, Vector v) { *reinterpret_cast<Memory*>(p) = v; }
  VISAVIS_INLINE float dot(Vector a, Vector b) {
    float products[F];
    write(products, a * b);
    float s = products[0];
    for (int f = 1; f < F; f++) s += products[f];
    return s;
  }
};

template <>
struct Feature<1> {
  typedef float Vector;
  VISAVIS_INLINE Vector read(const float* p) { return *p; }
  VISAVIS_INLINE void write(float* p, Vector v) { *p = v; }
  VISAVIS_INLINE float dot(Vector a, Vector b) { return a * b; }
};

// The cells of kLanes points: rows and weights of the corners 00, 10, 01, 11.
struct Cells {
  alignas(64) uint32_t row[4][kLanes];
  alignas(64) float weight[4][kLanes];
  vf u, v;  // place inside the cell
};

typedef uint32_t vu __attribute__((vector_size(kLanes * 4)));

VISAVIS_INLINE void store_rows(uint32_t* p, vu rows) { memcpy(p, &rows, sizeof rows); }

VISAVIS_INLINE void locate(const maths::TriplaneLevel& level, const float* us, const float* vs, Cells& cells) {
  const vf last = broadcast((float)level.resolution - 1.f);
  const vf pu = load(us) * (float)level.resolution, pv = load(vs) * (float)level.resolution;
  const vi iu = truncate(min(pu, last)), iv = truncate(min(pv, last));
  cells.u = pu - to_float(iu), cells.v = pv - to_float(iv);
  const vu column = (vu)iu, line = (vu)iv;
  store_rows(cells.row[0], maths::corner_row(level, column, line));
  store_rows(cells.row[1], maths::corner_row(level, column + 1, line));
  store_rows(cells.row[2], maths::corner_row(level, column, line + 1));
  store_rows(cells.row[3], maths::corner_row(level, column + 1, line + 1));
  store(cells.weight[0], (1.f - cells.u) * (1.f - cells.v)), store(cells.weight[1], cells.u * (1.f - cells.v));
  store(cells.weight[2], (1.f - cells.u) * cells.v), store(cells.weight[3], cells.u * cells.v);
}

struct Place {
  const maths::TriplaneLevel& level;
  const float *us, *vs;
  int64_t table;  // first value of the level in the table
  float* column;

  VISAVIS_INLINE Place of(const TriplaneView& v, int plane_level) {
    const int plane = plane_level / v.levels;
    const maths::TriplaneLevel& level = v.level[plane_level % v.levels];
    return {level, v.coords + (int64_t)maths::plane_axis(plane, 0) * v.padded, v.coords + (int64_t)maths::plane_axis(plane, 1) * v.padded,
            (plane * v.rows + level.first) * v.features, v.columns + (int64_t)plane_level * v.stride() + v.values()};
  }
};

template <int F>
void look_up(const TriplaneView& v, int plane_level) {
  const Place place = Place::of(v, plane_level);
  const float* table = v.table + place.table;
  Cells cells;
  for (int first = 0; first < v.n; first += kLanes) {
    locate(place.level, place.us + first, place.vs + first, cells);
    float* out = place.column + (int64_t)first * F;
    const int count = imin(kLanes, v.n - first);
    for (int i = 0; i < count; i++) {
      auto value = Feature<F>::read(table + (int64_t)cells.row[0][i] * F) * cells.weight[0][i];
      for (int c = 1; c < 4; c++) value += Feature<F>::read(table + (int64_t)cells.row[c][i] * F) * cells.weight[c][i];
      Feature<F>::write(out + i * F, value);
    }
  }
}

// Slopes of the cells' features at the points: four dot products per point, one per corner.
VISAVIS_INLINE void slope_of_places(const Cells& cells, const float (*dots)[kLanes], float scale, float* slopes) {
  const vf d00 = load(dots[0]), d10 = load(dots[1]), d01 = load(dots[2]), d11 = load(dots[3]);
  store(slopes, scale * ((d10 - d00) * (1.f - cells.v) + (d11 - d01) * cells.v));
  store(slopes + kLanes, scale * ((d01 - d00) * (1.f - cells.u) + (d11 - d10) * cells.u));
}

template <int F>
void scatter(const TriplaneView& v, int plane_level) {
  const Place place = Place::of(v, plane_level);
  const float* table = v.table + place.table;
  float* grads = v.grad_table + place.table;
  float* places = v.grad_points ? place.column - v.values() : nullptr;
  const int next = plane_level % v.levels + 1;
  const int64_t end = next < v.levels ? v.level[next].first : v.rows;
  memset(grads, 0, sizeof(float) * F * (end - place.level.first));
  const int n = v.n;
  Cells cells;
  alignas(64) float dots[4][kLanes] = {};
  for (int first = 0; first < n; first += kLanes) {
    locate(place.level, place.us + first, place.vs + first, cells);
    const float* slopes = place.column + (int64_t)first * F;
    const int count = imin(kLanes, n - first);
    for (int i = 0; i < count; i++) {
      const auto slope = Feature<F>::read(slopes + i * F);
      for (int c = 0; c < 4; c++) {
        const int64_t row = (int64_t)cells.row[c][i] * F;
        Feature<F>::write(grads + row, Feature<F>::read(grads + row) + slope * cells.weight[c][i]);
        if (places) dots[c][i] = Feature<F>::dot(slope, Feature<F>::read(table + row));
      }
    }
    if (places) slope_of_places(cells, dots, (float)place.level.resolution, places + 2 * (int64_t)first);
  }
}

constexpr int kRowBlock = 64;  // points whose rows stay in the first-level cache

template <int F, bool kToRows>
void turn(const TriplaneView& v, int begin, int end) {
  const int columns = 3 * v.levels;
  for (int block = begin; block < end; block += kRowBlock)
    for (int c = 0; c < columns; c++) {
      float* column = v.columns + c * v.stride() + v.values();
      float* row = v.out + c * F;
      const int stop = imin(block + kRowBlock, end);
      for (int i = block; i < stop; i++) {
        float* in_row = row + (int64_t)i * columns * F;
        if (kToRows)
          Feature<F>::write(in_row, Feature<F>::read(column + (int64_t)i * F));
        else
          Feature<F>::write(column + (int64_t)i * F, Feature<F>::read(in_row));
      }
    }
}

#define VISAVIS_BY_FEATURES(function, ...)    \
  switch (v.features) {                       \
    case 1: return function<1>(__VA_ARGS__);  \
    case 2: return function<2>(__VA_ARGS__);  \
    case 4: return function<4>(__VA_ARGS__);  \
    case 8: return function<8>(__VA_ARGS__);  \
  }

template <int F>
void to_rows(const TriplaneView& v, int begin, int end) {
  turn<F, true>(v, begin, end);
}
template <int F>
void to_columns(const TriplaneView& v, int begin, int end) {
  turn<F, false>(v, begin, end);
}

}  // namespace

void triplane_level(const TriplaneView& v, int plane_level) { VISAVIS_BY_FEATURES(look_up, v, plane_level) }
void triplane_level_backward(const TriplaneView& v, int plane_level) { VISAVIS_BY_FEATURES(scatter, v, plane_level) }

// `begin` is a multiple of kPointPad. Levels are summed in their order.
void triplane_points_backward(const TriplaneView& v, int begin, int end) {
  for (int first = begin; first < end; first += kLanes)
    for (int axis = 0; axis < 3; axis++) {
      vf total = {};
      for (int which = 0; which < 2; which++) {
        const int plane = (axis + 3 - which) % 3;  // whose coordinate `which` is this axis
        const float* slopes = v.columns + (int64_t)plane * v.levels * v.stride() + 2 * (int64_t)first + which * kLanes;
        for (int level = 0; level < v.levels; level++) total += load(slopes + level * v.stride());
      }
      float sums[kLanes];
      store(sums, total);
      const int count = imin(kLanes, end - first);
      for (int i = 0; i < count; i++) {
        const int64_t at = 3 * (int64_t)(first + i) + axis;
        v.grad_points[at] = v.points[at] >= 0.f && v.points[at] <= 1.f ? sums[i] : 0.f;
      }
    }
}

void triplane_to_rows(const TriplaneView& v, int begin, int end) { VISAVIS_BY_FEATURES(to_rows, v, begin, end) }
void triplane_to_columns(const TriplaneView& v, int begin, int end) { VISAVIS_BY_FEATURES(to_columns, v, begin, end) }

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
