// Addressing of one level of a hashed plane of features (Mueller et al. 2022, "Instant Neural Graphics Primitives",
// eq. 4; planes as in Li et al. 2023, "ER-NeRF").
#pragma once

#include "real.h"

namespace visavis {
namespace maths {

struct TriplaneLevel {
  int resolution;      // cells along a side
  unsigned hash_mask;  // rows - 1 where corners are hashed; 0 where every corner has a row of its own
  long long first;     // first row of the level in its plane's table
};

// The axes of the planes xy, yz, zx.
VISAVIS_HD int plane_axis(int plane, int which) { return (plane + which) % 3; }

// Row, counted from the level's first, of the corner (column, line); U is unsigned or a vector of unsigned.
template <class U>
VISAVIS_HD U corner_row(const TriplaneLevel& level, U column, U line) {
  if (level.hash_mask) return (column ^ (line * 2654435761u)) & level.hash_mask;
  return column + line * (unsigned)(level.resolution + 1);
}

}  // namespace maths
}  // namespace visavis
