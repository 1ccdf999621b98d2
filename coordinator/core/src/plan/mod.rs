//! What each shard does in each step: a pure function of the run's definition and the sizes of its
//! data sets. Any worker can compute any part of it at any time.
