// Where the levels of a tree of fan-out 32 lie.
//
// One contiguous array, level after level, leaves first. A level of n nodes is padded to a multiple of 32, and the 32
// nodes [32 k, 32 k + 32) of a level are the children of node k of the level above. The last level is the root alone.
// The padding holds the neutral element of the tree (0, or plus or minus infinity) and is never written.
#pragma once

#include "lanes.cuh"

namespace rl_cuda {

constexpr int kFanOut = kLanes;  // one warp reads the children of one node
constexpr int kShift = 5;        // the node k levels above a leaf is leaf >> 5 k
constexpr int kMaxLevels = 8;    // 32^7 leaves and the root

struct Levels {
    int64_t start[kMaxLevels];  // of the leaves first
    int64_t nodes[kMaxLevels];  // without padding; of the leaves with it
    int root;                   // the number of the last level
};

// Whether `leaves` is a number of leaves; if so, its levels.
inline bool find_levels(int64_t leaves, Levels* levels) {
    if (leaves <= 0 || leaves % kFanOut != 0) return false;
    levels->start[0] = 0;
    levels->nodes[0] = leaves;
    for (int level = 0; level + 1 < kMaxLevels; ++level) {
        const int64_t padded = (levels->nodes[level] + kFanOut - 1) / kFanOut * kFanOut;
        levels->start[level + 1] = levels->start[level] + padded;
        levels->nodes[level + 1] = padded / kFanOut;
        levels->root = level + 1;
        if (padded == kFanOut) return true;
    }
    return false;
}

}  // namespace rl_cuda
