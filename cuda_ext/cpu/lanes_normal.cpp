// Gauss-Newton matrices of points that move with a head's pose and expression: J^T J, where a row of J is never stored
// longer than it takes to multiply a block of rows with itself.
#include "lanes.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {
namespace {

constexpr int kBlockPoints = 32;                      // their rows stay in the first-level cache
constexpr int kTileRows = kLanes == 16 ? 8 : 4;       // of the matrix, whose sums stay in registers
constexpr int kTileVectors = 2;
constexpr int kTileColumns = kTileVectors * kLanes;
static_assert(kNormalPad % kTileColumns == 0 && kNormalPad % kTileRows == 0, "tiles fill the padded matrix");

// Row of J: how the measurement whose derivative by the point is q moves with the unknowns.
VISAVIS_INLINE void write_row(const float* q, const float* at, const float* basis, int padded, float* row) {
  const vf x = broadcast(q[0]), y = broadcast(q[1]), z = broadcast(q[2]);
  for (int j = 0; j < padded; j += kLanes)
    store(row + j, fma(x, load(basis + j), fma(y, load(basis + padded + j), z * load(basis + 2 * padded + j))));
  row[0] = at[1] * q[2] - at[2] * q[1];
  row[1] = at[2] * q[0] - at[0] * q[2];
  row[2] = at[0] * q[1] - at[1] * q[0];
  row[3] = q[0], row[4] = q[1], row[5] = q[2];
}

// sums[first .. first + kTileRows) x [column .. column + kTileColumns) += the same part of rows^T rows.
VISAVIS_INLINE void add_tile(const float* rows, int count, int padded, int first, int column, float* sums) {
  vf tile[kTileRows][kTileVectors];
  for (int i = 0; i < kTileRows; i++)
    for (int j = 0; j < kTileVectors; j++) tile[i][j] = load(sums + (first + i) * padded + column + j * kLanes);
  for (int r = 0; r < count; r++) {
    const float* row = rows + r * padded;
    vf right[kTileVectors];
    for (int j = 0; j < kTileVectors; j++) right[j] = load(row + column + j * kLanes);
    for (int i = 0; i < kTileRows; i++) {
      const vf left = broadcast(row[first + i]);
      for (int j = 0; j < kTileVectors; j++) tile[i][j] = fma(left, right[j], tile[i][j]);
    }
  }
  for (int i = 0; i < kTileRows; i++)
    for (int j = 0; j < kTileVectors; j++) store(sums + (first + i) * padded + column + j * kLanes, tile[i][j]);
}

}  // namespace

int64_t normal_scratch(const NormalView& v) { return (int64_t)v.padded * (v.padded + 2 * kBlockPoints); }

void normal_matrix(const NormalView& v, int frame, float* scratch) {
  float* const sums = scratch;
  float* const rows = scratch + v.padded * v.padded;
  memset(sums, 0, sizeof(float) * v.padded * v.padded);
  for (int begin = 0; begin < v.points; begin += kBlockPoints) {
    const int count = imin(kBlockPoints, v.points - begin);
    for (int p = 0; p < count; p++) {
      const int64_t point = begin + p, seen = (int64_t)frame * v.points + point;
      for (int r = 0; r < 2; r++)
        write_row(v.rows + (seen * 2 + r) * 3, v.head + seen * 3, v.basis + point * 3 * v.padded, v.padded,
                  rows + (2 * p + r) * v.padded);
    }
    for (int column = 0; column < v.padded; column += kTileColumns)  // upper triangle only
      for (int first = 0; first < column + kTileColumns; first += kTileRows)
        add_tile(rows, 2 * count, v.padded, first, column, sums);
  }
  float* const out = v.out + (int64_t)frame * v.unknowns * v.unknowns;
  for (int i = 0; i < v.unknowns; i++)
    for (int j = i; j < v.unknowns; j++) out[i * v.unknowns + j] = out[j * v.unknowns + i] = sums[i * v.padded + j];
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
