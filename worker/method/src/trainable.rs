//! Trained parameters in one flat buffer, their gradients in another: what is reduced over shards in buckets and
//! updated by one kernel per learning rate.
//!
//! Invariant: every parameter's data are a view of the buffer, at a 64-byte boundary, and so is its `.grad` on a CPU; the
//! order of entries is that of construction and part of the run's definition. On a GPU a backward pass leaves gradients
//! beside the buffer, and they are copied there bucket by bucket: one launch each, where zeroing and adding would be one for
//! each parameter.

use std::ops::Range;

use tch::{Device, Kind, Tensor, no_grad};
use ulda_torch::grad::GradientHooks;
use ulda_torch::{Update, gather_gradients, set_grad};

use crate::error::{MethodError, Result, expect_shape};
use crate::optim::SgdSettings;

/// Parameters start at multiples of this many float32 values (64 bytes).
const ALIGNMENT: usize = 16;

/// Parameters that share a learning rate.
#[derive(Debug)]
pub struct ParameterGroup {
    /// Name for schedules and messages, such as `head`.
    pub name: &'static str,
    /// Published names and the leaves themselves (shallow clones of the network's).
    pub parameters: Vec<(String, Tensor)>,
}

/// One parameter's place in the flat buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterEntry {
    /// Published name.
    pub name: String,
    /// Shape of the parameter.
    pub shape: Vec<i64>,
    /// Elements of the flat buffers.
    pub range: Range<usize>,
}

/// A stretch of the flat gradient that is complete as soon as its parameters' gradients are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSpan {
    /// Elements of the flat gradient.
    pub range: Range<usize>,
    /// Positions in [`TrainableSet::entries`].
    pub entries: Range<usize>,
}

#[derive(Debug)]
struct Group {
    name: &'static str,
    range: Range<usize>,
}

/// Named parameters in a fixed order with flat values, gradient and velocity (all float32, `[len]`).
#[derive(Debug)]
pub struct TrainableSet {
    entries: Vec<ParameterEntry>,
    leaves: Vec<Tensor>,
    groups: Vec<Group>,
    values: Tensor,
    gradient: Tensor,
    velocity: Tensor,
    /// Each parameter's part of the flat gradient, where backward passes leave gradients beside it.
    places: Option<Vec<Tensor>>,
    settings: SgdSettings,
}

impl TrainableSet {
    /// Moves the parameters of `groups` into flat buffers. The networks that own them see the change, since the
    /// tensors are shared.
    ///
    /// # Errors
    /// When there is no parameter, one is not float32, or they live on different devices.
    pub fn new(groups: Vec<ParameterGroup>, settings: SgdSettings) -> Result<TrainableSet> {
        let first = groups.iter().flat_map(|group| &group.parameters).next();
        let beside = first.is_some_and(|(_, leaf)| matches!(leaf.device(), Device::Cuda(_)));
        TrainableSet::with_gradients(groups, settings, beside)
    }

    /// `beside` says whether backward passes leave gradients beside the flat one.
    fn with_gradients(
        groups: Vec<ParameterGroup>,
        settings: SgdSettings,
        beside: bool,
    ) -> Result<TrainableSet> {
        let (mut entries, mut leaves, mut spans, mut at) = (Vec::new(), Vec::new(), Vec::new(), 0usize);
        for group in groups {
            let start = at;
            for (name, leaf) in group.parameters {
                if leaf.kind() != Kind::Float {
                    return Err(MethodError::State {
                        name,
                        problem: format!("{:?}, expected Float", leaf.kind()),
                    });
                }
                let count = leaf.numel();
                entries.push(ParameterEntry {
                    name,
                    shape: leaf.size(),
                    range: at..at + count,
                });
                at += count.next_multiple_of(ALIGNMENT);
                leaves.push(leaf);
            }
            spans.push(Group {
                name: group.name,
                range: start..at,
            });
        }
        let device = leaves
            .first()
            .map(Tensor::device)
            .ok_or_else(|| MethodError::State {
                name: "parameters".into(),
                problem: "an empty list; nothing would be trained".into(),
            })?;
        let flat = || Tensor::f_zeros([at as i64], (Kind::Float, device));
        let (values, gradient, velocity) = (flat()?, flat()?, flat()?);
        let mut places = Vec::with_capacity(entries.len());
        for (entry, leaf) in entries.iter().zip(&mut leaves) {
            let mut place = view(&values, entry)?;
            no_grad(|| place.f_copy_(leaf))?;
            leaf.f_set_data(&place)?;
            let _ = leaf.f_set_requires_grad(true)?;
            let place = view(&gradient, entry)?;
            set_grad(leaf, (!beside).then_some(&place))?;
            places.push(place);
        }
        Ok(TrainableSet {
            entries,
            leaves,
            groups: spans,
            values,
            gradient,
            velocity,
            places: beside.then_some(places),
            settings,
        })
    }

    /// Parameters in order.
    pub fn entries(&self) -> &[ParameterEntry] {
        &self.entries
    }

    /// Names of the groups, in the order of the learning rates that [`TrainableSet::apply`] takes.
    pub fn group_names(&self) -> Vec<&'static str> {
        self.groups.iter().map(|group| group.name).collect()
    }

    /// Length of the flat buffers, padding included.
    pub fn flat_len(&self) -> usize {
        self.values.numel()
    }

    /// Flat gradient `[len]`, float32: the buckets of [`TrainableSet::on_bucket_ready`] as they become complete. After a
    /// backward pass without it, [`TrainableSet::collect_gradient`] completes all.
    pub fn gradient(&self) -> &Tensor {
        &self.gradient
    }

    /// The flat gradient `[len]` that backward passes since [`TrainableSet::zero_gradient`] added up to.
    ///
    /// # Errors
    /// When the device fails.
    pub fn collect_gradient(&self) -> Result<&Tensor> {
        if let Some(places) = &self.places {
            gather_gradients(&self.leaves, places)?;
        }
        Ok(&self.gradient)
    }

    /// Forgets what backward passes have left: they begin at zero again.
    ///
    /// # Errors
    /// When the device fails.
    pub fn zero_gradient(&self) -> Result<()> {
        if self.places.is_some() {
            for leaf in &self.leaves {
                set_grad(leaf, None)?;
            }
        } else {
            let _ = self.gradient.shallow_clone().f_zero_()?;
        }
        Ok(())
    }

    /// Cuts the gradient into buckets of at most `max_bytes` (at least one parameter each), last parameters first:
    /// the order in which a backward pass completes them.
    pub fn buckets(&self, max_bytes: usize) -> Vec<BucketSpan> {
        let mut buckets: Vec<BucketSpan> = Vec::new();
        let mut end = self.flat_len();
        for (at, entry) in self.entries.iter().enumerate().rev() {
            let fits = buckets
                .last()
                .is_some_and(|open| (open.range.end - entry.range.start) * 4 <= max_bytes);
            match buckets.last_mut() {
                Some(open) if fits => {
                    open.range.start = entry.range.start;
                    open.entries.start = at;
                }
                _ => buckets.push(BucketSpan {
                    range: entry.range.start..end,
                    entries: at..at + 1,
                }),
            }
            end = entry.range.start;
        }
        buckets
    }

    /// Calls `ready(i)` during backward passes as soon as all gradients of `buckets[i]` are accumulated. Dropping
    /// the guard stops that. An error of `ready` surfaces from the backward pass.
    ///
    /// # Errors
    /// When libtorch refuses a hook.
    pub fn on_bucket_ready(
        &self,
        buckets: &[BucketSpan],
        mut ready: impl FnMut(usize) -> Result<(), String> + Send + 'static,
    ) -> Result<GradientHooks> {
        let mut bucket_of = vec![0usize; self.entries.len()];
        for (at, bucket) in buckets.iter().enumerate() {
            for entry in bucket.entries.clone() {
                bucket_of[entry] = at;
            }
        }
        let sizes: Vec<usize> = buckets.iter().map(|bucket| bucket.entries.len()).collect();
        let to_copy: Option<Vec<_>> = self.places.as_ref().map(|places| {
            let part = |all: &[Tensor], of: &Range<usize>| -> Vec<Tensor> {
                all[of.clone()].iter().map(Tensor::shallow_clone).collect()
            };
            let of = buckets.iter().map(|bucket| &bucket.entries);
            of.map(|of| (part(&self.leaves, of), part(places, of))).collect()
        });
        let mut missing = sizes.clone();
        let hook = move |entry: i64| {
            let bucket = bucket_of[entry as usize];
            missing[bucket] -= 1;
            if missing[bucket] == 0 {
                missing[bucket] = sizes[bucket];
                if let Some((leaves, places)) = to_copy.as_ref().map(|copies| &copies[bucket]) {
                    gather_gradients(leaves, places).map_err(|error| error.to_string())?;
                }
                ready(bucket)?;
            }
            Ok(())
        };
        Ok(GradientHooks::install(&self.leaves, hook)?)
    }

    /// One SGD step with `gradient` `[len]` (already summed over shards) and one learning rate per group.
    ///
    /// # Errors
    /// When the gradient or the number of learning rates does not fit.
    pub fn apply(&mut self, gradient: &Tensor, lrs: &[f64]) -> Result<()> {
        expect_shape("flat gradient", gradient, &[self.flat_len() as i64])?;
        if lrs.len() != self.groups.len() {
            return Err(MethodError::State {
                name: "learning rates".into(),
                problem: format!("{} for the groups {:?}", lrs.len(), self.group_names()),
            });
        }
        for (group, lr) in self.groups.iter().zip(lrs) {
            let part = |flat: &Tensor| flat.f_narrow(0, group.range.start as i64, group.range.len() as i64);
            let mut update = Update {
                parameter: &mut part(&self.values)?,
                gradient: &part(gradient)?,
                velocity: &mut part(&self.velocity)?,
            };
            self.settings.step(std::slice::from_mut(&mut update), *lr)?;
        }
        Ok(())
    }

    /// Copies of the parameters under their names.
    ///
    /// # Errors
    /// When libtorch is out of memory.
    pub fn named_values(&self) -> Result<Vec<(String, Tensor)>> {
        self.named(&self.values)
    }

    /// Copies of the momentum buffers under their parameters' names.
    ///
    /// # Errors
    /// When libtorch is out of memory.
    pub fn named_velocity(&self) -> Result<Vec<(String, Tensor)>> {
        self.named(&self.velocity)
    }

    /// Copies of the gradients under their parameters' names.
    ///
    /// # Errors
    /// When libtorch is out of memory.
    pub fn named_gradient(&self) -> Result<Vec<(String, Tensor)>> {
        self.named(self.collect_gradient()?)
    }

    /// Overwrites the parameters with what `find` has for each name.
    ///
    /// # Errors
    /// When a name is missing or a shape differs; nothing is changed then.
    pub fn load_values(&mut self, find: impl Fn(&str) -> Option<Tensor>) -> Result<()> {
        self.load(&self.values, "parameters", find)
    }

    /// Overwrites the momentum buffers with what `find` has for each name.
    ///
    /// # Errors
    /// When a name is missing or a shape differs; nothing is changed then.
    pub fn load_velocity(&mut self, find: impl Fn(&str) -> Option<Tensor>) -> Result<()> {
        self.load(&self.velocity, "momentum", find)
    }

    fn named(&self, flat: &Tensor) -> Result<Vec<(String, Tensor)>> {
        self.entries
            .iter()
            .map(|entry| Ok((entry.name.clone(), view(flat, entry)?.copy())))
            .collect()
    }

    fn load(&self, flat: &Tensor, what: &str, find: impl Fn(&str) -> Option<Tensor>) -> Result<()> {
        let mut found = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let tensor = find(&entry.name).ok_or_else(|| MethodError::State {
                name: entry.name.clone(),
                problem: format!("missing from the {what}"),
            })?;
            expect_shape(&entry.name, &tensor, &entry.shape)?;
            found.push(tensor);
        }
        for (entry, tensor) in self.entries.iter().zip(found) {
            let mut place = view(flat, entry)?;
            no_grad(|| place.f_copy_(&tensor))?;
        }
        Ok(())
    }
}

/// The part of a flat buffer that belongs to `entry`, in its shape, outside autograd.
fn view(flat: &Tensor, entry: &ParameterEntry) -> Result<Tensor> {
    let part = flat.f_narrow(0, entry.range.start as i64, entry.range.len() as i64)?;
    Ok(part.f_view(entry.shape.as_slice())?.f_data()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn leaf(shape: &[i64], value: f64) -> Tensor {
        Tensor::full(shape, value, (Kind::Float, Device::Cpu)).set_requires_grad(true)
    }

    fn two_groups() -> (Tensor, Tensor, TrainableSet) {
        two_groups_with(false)
    }

    fn two_groups_with(beside: bool) -> (Tensor, Tensor, TrainableSet) {
        let (a, b) = (leaf(&[3], 1.0), leaf(&[2, 2], 2.0));
        let group = |name, parameter: &Tensor| ParameterGroup {
            name,
            parameters: vec![(format!("{name}.weight"), parameter.shallow_clone())],
        };
        let groups = vec![group("a", &a), group("b", &b)];
        let settings = SgdSettings {
            momentum: 0.9,
            weight_decay: 0.0,
        };
        let set = TrainableSet::with_gradients(groups, settings, beside).unwrap();
        (a, b, set)
    }

    #[test]
    fn backward_fills_the_flat_gradient_and_apply_moves_the_parameters() {
        let (a, b, mut set) = two_groups();
        assert_eq!(set.flat_len(), 32);
        (a.sum(Kind::Float) * 3.0 + b.sum(Kind::Float)).backward();
        let gradient = set.gradient().copy();
        assert_eq!(gradient.sum(Kind::Float).double_value(&[]), 13.0);
        set.apply(&gradient, &[0.1, 1.0]).unwrap();
        assert!((a.double_value(&[0]) - 0.7).abs() < 1e-6);
        assert_eq!(b.double_value(&[1, 1]), 1.0);
        set.zero_gradient().unwrap();
        (a.sum(Kind::Float) + b.sum(Kind::Float)).backward();
        assert_eq!(set.named_gradient().unwrap()[0].1.double_value(&[2]), 1.0);
    }

    #[test]
    fn buckets_cover_everything_from_the_end_and_report_once_per_pass() {
        let (a, b, set) = two_groups();
        let buckets = set.buckets(64);
        assert_eq!(
            buckets
                .iter()
                .map(|bucket| bucket.range.clone())
                .collect::<Vec<_>>(),
            [16..32, 0..16]
        );
        assert_eq!(set.buckets(usize::MAX).len(), 1);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let hooks = set
            .on_bucket_ready(&buckets, move |bucket| {
                log.lock().unwrap().push(bucket);
                Ok(())
            })
            .unwrap();
        for _ in 0..2 {
            (a.sum(Kind::Float) * b.sum(Kind::Float)).backward();
        }
        drop(hooks);
        (a.sum(Kind::Float) * b.sum(Kind::Float)).backward();
        let mut seen = seen.lock().unwrap().clone();
        seen.sort_unstable();
        assert_eq!(seen, [0, 0, 1, 1]);
    }

    #[test]
    fn gradients_beside_the_buffer_are_the_same_and_add_up_until_zeroed() {
        let (a, b, set) = two_groups_with(true);
        let loss = || a.sum(Kind::Float) * 3.0 + (&b * &b).sum(Kind::Float);
        let (bound_a, bound_b, bound) = two_groups();
        let bound_loss = || bound_a.sum(Kind::Float) * 3.0 + (&bound_b * &bound_b).sum(Kind::Float);
        for _ in 0..2 {
            loss().backward();
            bound_loss().backward();
        }
        assert_eq!(*set.collect_gradient().unwrap(), *bound.gradient());
        set.zero_gradient().unwrap();
        // A parameter that the loss does not reach has no gradient.
        (a.sum(Kind::Float) * 5.0).backward();
        let flat = set.collect_gradient().unwrap();
        assert_eq!((flat.double_value(&[0]), flat.double_value(&[16])), (5.0, 0.0));
    }

    #[test]
    fn a_bucket_is_in_the_buffer_when_it_is_reported() {
        let (a, b, set) = two_groups_with(true);
        let (buckets, flat) = (set.buckets(64), set.gradient().shallow_clone());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, starts) = (Arc::clone(&seen), [16, 0]);
        let ready = move |bucket: usize| {
            log.lock()
                .unwrap()
                .push((bucket, flat.double_value(&[starts[bucket]])));
            Ok(())
        };
        let hooks = set.on_bucket_ready(&buckets, ready).unwrap();
        (a.sum(Kind::Float) * 3.0 + b.sum(Kind::Float)).backward();
        drop(hooks);
        let mut seen = seen.lock().unwrap().clone();
        seen.sort_by_key(|(bucket, _)| *bucket);
        assert_eq!(seen, [(0, 1.0), (1, 3.0)]);
    }

    #[test]
    fn a_missing_momentum_is_named() {
        let (_, _, mut set) = two_groups();
        let message = set
            .load_velocity(|name| (name == "a.weight").then(|| leaf(&[3], 0.0)))
            .unwrap_err();
        assert_eq!(
            message.to_string(),
            "saved state: tensor `b.weight` is missing from the momentum"
        );
    }
}
