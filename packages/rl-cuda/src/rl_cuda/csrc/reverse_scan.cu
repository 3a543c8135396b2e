// Linear recurrences backwards in time, x_t = a_t x_{t+1} + b_t with nothing after the last step, and the estimators
// that are one: generalised advantages, lambda-returns, V-trace. One pass reads the inputs, scans, writes the results.
//
// All arrays are [rows, steps]. A row is cut into segments, a segment into chunks of 32 steps; one warp works through a
// segment, last chunk first. In a chunk the 32 maps x -> a x + b are composed by doubling (step t with t + 1, then t + 2,
// t + 4, ...), and the result is applied to the x that follows the chunk. With several segments a row, which fills the
// device where rows are few and long, two more launches find the x that follows each segment: each segment is one map,
// and these form a recurrence themselves. Which additions are made in which order depends on the shape alone.

#include <cmath>

#include "lanes.cuh"

namespace rl_cuda {
namespace {

// The map x -> a x + b, for which x is what follows in time.
template <typename scalar_t>
struct Map {
    scalar_t a, b;
    RL_DEVICE scalar_t operator()(scalar_t x) const { return b + a * x; }
    RL_DEVICE Map after(const Map& later) const { return {a * later.a, b + a * later.b}; }
};

template <typename scalar_t>
RL_DEVICE Lanes<Map<scalar_t>> maps_above(const Lanes<Map<scalar_t>>& maps, int offset) {
    const auto a = from_above(each_lane([&](int lane) { return maps[lane].a; }), offset);
    const auto b = from_above(each_lane([&](int lane) { return maps[lane].b; }), offset);
    return each_lane([&](int lane) { return Map<scalar_t>{a[lane], b[lane]}; });
}

// An estimator says which map a step is, and what to write once x is known. `at` is the place of (row, step), `next` is
// x of the following step, zero after the last.

template <typename scalar_t>
struct Recurrence {
    using scalar = scalar_t;
    const scalar_t *coefficient, *offset;
    scalar_t* solution;
    RL_DEVICE Map<scalar_t> map(int64_t at, bool) const { return {coefficient[at], offset[at]}; }
    RL_DEVICE void write(int64_t at, bool, scalar_t x, scalar_t) const { solution[at] = x; }
};

// What the estimators of value read. A value after a terminal state is never read.
template <typename scalar_t>
struct Steps {
    const scalar_t *value, *next_value, *reward;
    const bool *done, *terminated;
    scalar_t gamma;
    RL_DEVICE scalar_t bootstrap(int64_t at) const { return terminated[at] ? scalar_t(0) : next_value[at]; }
    RL_DEVICE scalar_t error(int64_t at) const { return reward[at] + gamma * bootstrap(at) - value[at]; }
};

template <typename scalar_t>
struct Gae {
    using scalar = scalar_t;
    Steps<scalar_t> steps;
    scalar_t trace;  // gamma * lmbda
    scalar_t *advantage, *target;
    RL_DEVICE Map<scalar_t> map(int64_t at, bool) const {
        return {steps.done[at] ? scalar_t(0) : trace, steps.error(at)};
    }
    RL_DEVICE void write(int64_t at, bool, scalar_t x, scalar_t) const {
        advantage[at] = x;
        target[at] = x + steps.value[at];
    }
};

template <typename scalar_t>
struct LambdaReturn {
    using scalar = scalar_t;
    Steps<scalar_t> steps;  // without values
    scalar_t lmbda;
    scalar_t* target;
    RL_DEVICE Map<scalar_t> map(int64_t at, bool is_last) const {
        const scalar_t trace = is_last || steps.done[at] ? scalar_t(0) : lmbda;
        return {steps.gamma * trace, steps.reward[at] + steps.gamma * ((1 - trace) * steps.bootstrap(at))};
    }
    RL_DEVICE void write(int64_t at, bool, scalar_t x, scalar_t) const { target[at] = x; }
};

// x is the corrected value less the value.
template <typename scalar_t>
struct Vtrace {
    using scalar = scalar_t;
    Steps<scalar_t> steps;
    const scalar_t *log_pi, *log_mu;
    scalar_t max_log_rho, max_log_c;
    scalar_t *advantage, *target;
    RL_DEVICE scalar_t weight(int64_t at, scalar_t limit) const {
        const scalar_t log_ratio = log_pi[at] - log_mu[at];
        return exp(log_ratio < limit ? log_ratio : limit);
    }
    RL_DEVICE scalar_t link(int64_t at) const { return steps.done[at] ? scalar_t(0) : steps.gamma; }
    RL_DEVICE Map<scalar_t> map(int64_t at, bool) const {
        return {link(at) * weight(at, max_log_c), weight(at, max_log_rho) * steps.error(at)};
    }
    RL_DEVICE void write(int64_t at, bool is_last, scalar_t x, scalar_t next) const {
        target[at] = x + steps.value[at];
        const scalar_t rho = weight(at, max_log_rho);
        const scalar_t own = rho * steps.error(at);
        if (is_last || steps.done[at]) {
            advantage[at] = own;
            return;
        }
        const scalar_t change = (next + steps.value[at + 1]) - steps.next_value[at];
        advantage[at] = own + (link(at) * rho) * change;
    }
};

struct Shape {
    int64_t rows, steps;
    int64_t segment;  // steps in a segment, a multiple of 32
    int64_t segments() const { return (steps + segment - 1) / segment; }
};

// What one warp works through.
struct Segment {
    int64_t at, begin, end, steps;  // where the row starts; its steps [begin, end)
    RL_DEVICE Segment(int64_t warp, int64_t segments, int64_t length, int64_t row_steps)
        : at(warp / segments * row_steps), begin(warp % segments * length), end(begin + length), steps(row_steps) {
        if (end > steps) end = steps;
    }
    RL_DEVICE int64_t last_chunk() const { return begin + (end - begin - 1) / kLanes * kLanes; }
    // The maps of the steps [first, first + 32); the identity past the end and before the beginning.
    template <typename Estimator>
    RL_DEVICE auto maps(const Estimator& estimator, int64_t first) const {
        using scalar_t = typename Estimator::scalar;
        return each_lane([&](int lane) {
            const int64_t t = first + lane;
            return first >= begin && t < end ? estimator.map(at + t, t == steps - 1) : Map<scalar_t>{1, 0};
        });
    }
};

// In each lane the map of its step and all later ones of the chunk.
template <typename scalar_t>
RL_DEVICE Lanes<Map<scalar_t>> composed(Lanes<Map<scalar_t>> maps) {
    for (int offset = 1; offset < kLanes; offset *= 2) {
        const auto later = maps_above(maps, offset);
        maps = each_lane([&](int lane) { return lane + offset < kLanes ? maps[lane].after(later[lane]) : maps[lane]; });
    }
    return maps;
}

// Writes the results of a segment; `following` holds x at the first step of each segment, null where there is one.
template <typename Estimator>
struct Scan {
    using scalar_t = typename Estimator::scalar;
    Estimator estimator;
    int64_t segments, length, steps;
    const scalar_t* following;
    RL_DEVICE void operator()(int64_t warp) const {
        const Segment segment(warp, segments, length, steps);
        scalar_t x = following != nullptr && warp % segments + 1 < segments ? following[warp + 1] : scalar_t(0);
        auto ahead = segment.maps(estimator, segment.last_chunk());
        for (int64_t first = segment.last_chunk(); first >= segment.begin; first -= kLanes) {
            const auto maps = composed(ahead);
            ahead = segment.maps(estimator, first - kLanes);  // asked for early: memory answers late
            const auto solution = each_lane([&](int lane) { return maps[lane](x); });
            const auto above = from_above(solution, 1);
            each_lane([&](int lane) {
                const int64_t t = first + lane;
                const scalar_t next = lane + 1 < kLanes ? above[lane] : x;
                if (t < segment.end) estimator.write(segment.at + t, t == steps - 1, solution[lane], next);
                return 0;
            });
            x = pick(solution, 0);
        }
    }
};

// The map of each segment as a whole.
template <typename Estimator>
struct Totals {
    using scalar_t = typename Estimator::scalar;
    Estimator estimator;
    int64_t segments, length, steps;
    scalar_t *a, *b;
    RL_DEVICE void operator()(int64_t warp) const {
        const Segment segment(warp, segments, length, steps);
        Map<scalar_t> total{1, 0};
        auto ahead = segment.maps(estimator, segment.last_chunk());
        for (int64_t first = segment.last_chunk(); first >= segment.begin; first -= kLanes) {
            const auto maps = composed(ahead);
            ahead = segment.maps(estimator, first - kLanes);
            const auto chunk_a = pick(each_lane([&](int lane) { return maps[lane].a; }), 0);
            const auto chunk_b = pick(each_lane([&](int lane) { return maps[lane].b; }), 0);
            total = Map<scalar_t>{chunk_a, chunk_b}.after(total);
        }
        once([&] {
            a[warp] = total.a;
            b[warp] = total.b;
        });
    }
};

template <typename Estimator>
int scan(int device, void* stream_pointer, const Estimator& estimator, const Shape& shape,
         typename Estimator::scalar* scratch) {
    using scalar_t = typename Estimator::scalar;
    if (shape.rows < 0 || shape.steps < 1 || shape.segment < kLanes || shape.segment % kLanes != 0)
        return cudaErrorInvalidValue;
    const int selected = select(device);
    if (selected != cudaSuccess) return selected;
    const cudaStream_t stream = static_cast<cudaStream_t>(stream_pointer);
    const int64_t segments = shape.segments(), warps = shape.rows * segments;
    if (segments == 1) {
        for_each_warp(stream, warps, Scan<Estimator>{estimator, 1, shape.segment, shape.steps, nullptr});
        return status();
    }
    scalar_t *a = scratch, *b = scratch + warps, *following = scratch + 2 * warps;
    const int64_t whole = (segments + kLanes - 1) / kLanes * kLanes;
    for_each_warp(stream, warps, Totals<Estimator>{estimator, segments, shape.segment, shape.steps, a, b});
    using Between = Recurrence<scalar_t>;
    for_each_warp(stream, shape.rows, Scan<Between>{Between{a, b, following}, 1, whole, segments, nullptr});
    for_each_warp(stream, warps, Scan<Estimator>{estimator, segments, shape.segment, shape.steps, following});
    return status();
}

}  // namespace
}  // namespace rl_cuda

// Every function takes the device, the stream, its inputs, `rows` and `steps`, the steps of a segment (a multiple of 32),
// and its outputs. With several segments a row, `scratch` holds 3 * rows * segments numbers, else it may be null.
#define RL_CUDA_SCANS(suffix, scalar_t)                                                                               \
    RL_CUDA_EXPORT int rl_cuda_recurrence_##suffix(int device, void* stream, const scalar_t* coefficient,             \
                                                   const scalar_t* offset, int64_t rows, int64_t steps,               \
                                                   int64_t segment, scalar_t* solution, scalar_t* scratch) {          \
        const rl_cuda::Recurrence<scalar_t> estimator{coefficient, offset, solution};                                 \
        return rl_cuda::scan(device, stream, estimator, {rows, steps, segment}, scratch);                             \
    }                                                                                                                 \
    RL_CUDA_EXPORT int rl_cuda_gae_##suffix(                                                                          \
        int device, void* stream, const scalar_t* value, const scalar_t* next_value, const scalar_t* reward,          \
        const bool* done, const bool* terminated, double gamma, double lmbda, int64_t rows, int64_t steps,            \
        int64_t segment, scalar_t* advantage, scalar_t* target, scalar_t* scratch) {                                  \
        const rl_cuda::Gae<scalar_t> estimator{{value, next_value, reward, done, terminated, scalar_t(gamma)},        \
                                               scalar_t(gamma * lmbda),                                               \
                                               advantage,                                                             \
                                               target};                                                               \
        return rl_cuda::scan(device, stream, estimator, {rows, steps, segment}, scratch);                             \
    }                                                                                                                 \
    RL_CUDA_EXPORT int rl_cuda_lambda_return_##suffix(                                                                \
        int device, void* stream, const scalar_t* next_value, const scalar_t* reward, const bool* done,               \
        const bool* terminated, double gamma, double lmbda, int64_t rows, int64_t steps, int64_t segment,             \
        scalar_t* target, scalar_t* scratch) {                                                                        \
        const rl_cuda::LambdaReturn<scalar_t> estimator{                                                              \
            {nullptr, next_value, reward, done, terminated, scalar_t(gamma)}, scalar_t(lmbda), target};               \
        return rl_cuda::scan(device, stream, estimator, {rows, steps, segment}, scratch);                             \
    }                                                                                                                 \
    RL_CUDA_EXPORT int rl_cuda_vtrace_##suffix(                                                                       \
        int device, void* stream, const scalar_t* log_pi, const scalar_t* log_mu, const scalar_t* value,              \
        const scalar_t* next_value, const scalar_t* reward, const bool* done, const bool* terminated, double gamma,   \
        double max_log_rho, double max_log_c, int64_t rows, int64_t steps, int64_t segment, scalar_t* advantage,      \
        scalar_t* target, scalar_t* scratch) {                                                                        \
        const rl_cuda::Vtrace<scalar_t> estimator{{value, next_value, reward, done, terminated, scalar_t(gamma)},     \
                                                  log_pi,                                                             \
                                                  log_mu,                                                             \
                                                  scalar_t(max_log_rho),                                              \
                                                  scalar_t(max_log_c),                                                \
                                                  advantage,                                                          \
                                                  target};                                                            \
        return rl_cuda::scan(device, stream, estimator, {rows, steps, segment}, scratch);                             \
    }

RL_CUDA_SCANS(f32, float)
RL_CUDA_SCANS(f64, double)
