//! What carries gradients between the workers of a generation: NCCL where it can, else TCP.
//!
//! Every worker tells all others what it has, over the mesh that already stands; each then decides the same. NCCL's
//! unique id goes the same way: the mesh knows its members, and nobody else receives it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ulda_collective::{CollectiveError, DataPlane, ShardGroup, WorkerIndex};
use ulda_nccl::{Communicator, Library, NcclDeadlines, NcclError, RankSeat, UniqueId};
use ulda_run::spec::CollectiveChoice;

use super::form_error::{CarrierRefused, FormError, NcclRefusal, Obstacle};
use super::{FORMING, Trainer, TrainerError};
use crate::exit::with_hint;
use crate::link::{GpuSums, GpuTime, Link, Op, ShardPlacement};

/// Longest wait for NCCL to let go of a broken communicator, after which this process goes.
const ABORT_PATIENCE: Duration = Duration::from_secs(20);

/// What one worker has to offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Offer {
    /// Identity of its GPU, if it computes on one.
    gpu: Option<String>,
    /// NCCL's version, or why it has none.
    nccl: Result<String, NcclRefusal>,
}

/// What all workers decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Carrier {
    Tcp(Option<Obstacle>),
    Nccl,
    /// One worker, which needs none.
    Nobody,
}

/// Largest part of the time to form that NCCL has; the coordinator gives a generation up after the whole.
const SHARE_OF_FORMING: f64 = 0.75;

fn obstacle(offers: &[Offer]) -> Option<Obstacle> {
    for (worker, offer) in offers.iter().enumerate() {
        let Some(gpu) = &offer.gpu else {
            return Some(Obstacle::OnCpu { worker });
        };
        let before = &offers[..worker];
        if let Some(first) = before.iter().position(|other| other.gpu.as_ref() == Some(gpu)) {
            return Some(Obstacle::SharedGpu {
                first,
                second: worker,
            });
        }
        match (&offer.nccl, &offers[0].nccl) {
            (Err(refusal), _) => {
                let refusal = refusal.clone();
                return Some(Obstacle::NoLibrary { worker, refusal });
            }
            (Ok(has), Ok(first)) if has != first => {
                let (has, first) = (has.clone(), first.clone());
                return Some(Obstacle::Versions { worker, has, first });
            }
            (Ok(_), _) => {}
        }
    }
    None
}

fn decide(choice: CollectiveChoice, offers: &[Offer]) -> Result<Carrier, CarrierRefused> {
    let on_gpus = offers.iter().any(|offer| offer.gpu.is_some());
    match (choice, obstacle(offers)) {
        (CollectiveChoice::Nccl, Some(obstacle)) => Err(CarrierRefused(obstacle)),
        (CollectiveChoice::Nccl, None) => Ok(Carrier::Nccl),
        (CollectiveChoice::Auto | CollectiveChoice::Tcp, _) if offers.len() == 1 => Ok(Carrier::Nobody),
        (CollectiveChoice::Auto, None) => Ok(Carrier::Nccl),
        // That CPUs have no NCCL is nothing to be told of.
        (CollectiveChoice::Auto, Some(obstacle)) => Ok(Carrier::Tcp(on_gpus.then_some(obstacle))),
        (CollectiveChoice::Tcp, _) => Ok(Carrier::Tcp(None)),
    }
}

fn over_tcp(obstacle: &Obstacle) {
    let why = with_hint(obstacle, obstacle.hint());
    tracing::warn!("gradients go over TCP, through host memory: {why}");
}

impl Trainer {
    /// How gradients of the generation that `plane` belongs to are summed on this worker's GPU; none where they go
    /// over TCP. All workers call it, as `speakers`.
    pub(super) fn gpu_sums(
        &self,
        plane: &Arc<DataPlane>,
        link: &Link,
        speakers: &ShardGroup,
    ) -> Result<Option<GpuSums>, FormError> {
        let choice = self.spec.config().compute.collective;
        let asked = self.device.gpu.is_some() && choice != CollectiveChoice::Tcp;
        let library = asked.then(Library::find);
        let offer = Offer {
            gpu: self.device.gpu.as_ref().map(|gpu| gpu.uuid.clone()),
            nccl: match &library {
                Some(Ok(library)) => Ok(library.version().to_string()),
                Some(Err(error)) => Err(error.into()),
                None => Err(NcclRefusal {
                    why: "NCCL was not looked for".to_owned(),
                    hint: None,
                }),
            },
        };
        let offers: Vec<Offer> = self.tell_all((plane, link, speakers), Op::Offers, &offer)?;
        let compute = &self.spec.config().compute;
        let communicator = match decide(compute.collective, &offers)? {
            Carrier::Nobody if self.device.gpu.is_some() => None,
            Carrier::Nobody => return Ok(None),
            Carrier::Tcp(obstacle) => {
                if let Some(obstacle) = obstacle {
                    over_tcp(&obstacle);
                }
                return Ok(None);
            }
            Carrier::Nccl => {
                let library = library.unwrap_or_else(Library::find);
                let formed = library.and_then(|library| self.communicate(&library, plane, link, speakers));
                if let Err(error) = &formed
                    && error.needs_new_process()
                {
                    return Err(FormError::Own(Box::new(TrainerError::Nccl(error.clone()))));
                }
                let outcome = formed.as_ref().map(|_| ()).map_err(NcclRefusal::from);
                let outcomes: Vec<Result<(), NcclRefusal>> =
                    self.tell_all((plane, link, speakers), Op::NcclFormed, &outcome)?;
                let failed = outcomes.into_iter().enumerate().find_map(|(worker, outcome)| {
                    let refusal = outcome.err()?;
                    Some(Obstacle::NotFormed { worker, refusal })
                });
                match (failed, formed) {
                    (None, Ok(communicator)) => Some(communicator),
                    // It may form the next time.
                    (Some(obstacle), _) if choice == CollectiveChoice::Nccl => {
                        return Err(FormError::Nccl(NcclRefusal {
                            why: obstacle.to_string(),
                            hint: obstacle.hint(),
                        }));
                    }
                    (Some(obstacle), _) => {
                        over_tcp(&obstacle);
                        return Ok(None);
                    }
                    (None, Err(error)) => return Err(FormError::Nccl((&error).into())),
                }
            }
        };
        let layout = ShardPlacement {
            owners: plane.membership().shards.iter().map(|owner| owner.0).collect(),
            me: plane.membership().me.0,
            ordered: compute.ordered_sums,
        };
        tracing::info!(
            nccl = communicator.is_some(),
            ordered = layout.ordered,
            device = self.device.name(),
            "gradients are summed on the GPU"
        );
        let patience = Duration::from_secs_f64(self.spec.config().deadline.collective);
        Ok(Some(GpuSums::new(
            Arc::clone(plane),
            layout,
            communicator,
            patience,
        )))
    }

    /// What every worker says, in the order of workers.
    fn tell_all<T: Serialize + for<'a> Deserialize<'a>>(
        &self,
        (plane, link, speakers): (&DataPlane, &Link, &ShardGroup),
        op: Op,
        mine: &T,
    ) -> Result<Vec<T>, CollectiveError> {
        let bytes = serde_json::to_vec(mine).unwrap_or_default();
        let all = link.gather(FORMING, op, speakers, &bytes)?;
        let read = |bytes: &Vec<u8>| {
            serde_json::from_slice(bytes).map_err(|error| CollectiveError::Aborted {
                cause: ulda_collective::AbortCause::new(format!("{op:?} of another worker: {error}")),
            })
        };
        let owners = speakers
            .contributors()
            .iter()
            .map(|shard| plane.membership().worker_of(*shard));
        let mut by_worker: Vec<_> = owners.zip(&all).collect();
        by_worker.sort_by_key(|(worker, _)| *worker);
        by_worker.into_iter().map(|(_, bytes)| read(bytes)).collect()
    }

    fn communicate(
        &self,
        library: &Library,
        plane: &Arc<DataPlane>,
        link: &Link,
        speakers: &ShardGroup,
    ) -> Result<Communicator<GpuTime>, NcclError> {
        let membership = plane.membership();
        let seat = RankSeat {
            rank: membership.me.0,
            ranks: membership.workers.len() as u32,
        };
        // Whoever speaks for the first worker; shards may lie on workers in any order.
        let root = membership.shards_of(WorkerIndex(0))[0];
        let made = (seat.rank == 0).then(|| library.unique_id()).transpose();
        // Nothing is sent where it could not be made, so that nobody waits for it.
        let mut bytes = match &made {
            Ok(Some(id)) => id.as_bytes().to_vec(),
            Ok(None) | Err(_) => Vec::new(),
        };
        link.broadcast(FORMING, Op::NcclId, speakers, root.0, &mut bytes)
            .map_err(|error| NcclError::Outside {
                cause: error.to_string(),
            })?;
        made?;
        let id: [u8; UniqueId::BYTES] = bytes.as_slice().try_into().map_err(|_| NcclError::Outside {
            cause: "the first worker could not make a unique id".to_owned(),
        })?;
        let id = UniqueId::from(id);
        let gpu = self.device.index().ok_or_else(|| NcclError::Outside {
            cause: "this worker has no GPU".to_owned(),
        })?;
        let time = GpuTime::new(gpu).map_err(|error| NcclError::Outside {
            cause: error.to_string(),
        })?;
        let deadline = &self.spec.config().deadline;
        let deadlines = NcclDeadlines {
            form: Duration::from_secs_f64(deadline.nccl.min(deadline.form * SHARE_OF_FORMING)),
            operation: Duration::from_secs_f64(deadline.collective),
            abort: ABORT_PATIENCE,
        };
        let plane: Weak<DataPlane> = Arc::downgrade(plane);
        let outside = move || match plane.upgrade() {
            Some(plane) => plane.fault().map(|fault| fault.to_string()),
            None => Some("the generation is over".to_owned()),
        };
        Communicator::form(library, id, seat, time, deadlines, outside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_gpu(uuid: &str) -> Offer {
        Offer {
            gpu: Some(uuid.into()),
            nccl: Ok("2.28.9".into()),
        }
    }

    fn on_cpu() -> Offer {
        Offer {
            gpu: None,
            nccl: Err(not_found()),
        }
    }

    fn not_found() -> NcclRefusal {
        NcclRefusal {
            why: "libnccl.so.2 is not found".into(),
            hint: Some("install it".into()),
        }
    }

    fn refused(offers: &[Offer]) -> String {
        decide(CollectiveChoice::Nccl, offers).unwrap_err().to_string()
    }

    #[test]
    fn gpus_of_their_own_get_nccl_and_one_worker_needs_none() {
        let both = [on_gpu("a"), on_gpu("b")];
        assert_eq!(decide(CollectiveChoice::Auto, &both), Ok(Carrier::Nccl));
        assert_eq!(decide(CollectiveChoice::Tcp, &both), Ok(Carrier::Tcp(None)));
        assert_eq!(decide(CollectiveChoice::Auto, &both[..1]), Ok(Carrier::Nobody));
        assert_eq!(decide(CollectiveChoice::Nccl, &both[..1]), Ok(Carrier::Nccl));
    }

    #[test]
    fn cpus_use_tcp_without_a_word() {
        let cpus = [on_cpu(), on_cpu()];
        assert_eq!(decide(CollectiveChoice::Auto, &cpus), Ok(Carrier::Tcp(None)));
        let told = refused(&cpus);
        assert!(
            told.starts_with("compute.collective is nccl, but the worker at place 0 computes on the CPU"),
            "{told}"
        );
    }

    #[test]
    fn workers_that_share_a_gpu_are_told_and_use_tcp_or_refuse() {
        let offers = [on_gpu("a"), on_gpu("b"), on_gpu("a")];
        let shared = Obstacle::SharedGpu { first: 0, second: 2 };
        assert_eq!(
            decide(CollectiveChoice::Auto, &offers),
            Ok(Carrier::Tcp(Some(shared)))
        );
        assert!(refused(&offers).contains("places 0 and 2 share one GPU"));
    }

    #[test]
    fn a_missing_or_another_library_is_told_with_its_place() {
        let mut offers = [on_gpu("a"), on_gpu("b")];
        offers[1].nccl = Ok("2.27.3".into());
        assert!(refused(&offers).contains("place 1 has NCCL 2.27.3 and the first one 2.28.9"));
        offers[1].nccl = Err(not_found());
        let refused = decide(CollectiveChoice::Nccl, &offers).unwrap_err();
        assert!(
            refused
                .to_string()
                .ends_with("at place 1, libnccl.so.2 is not found")
        );
        let hint = "install it; or make compute.collective auto or tcp";
        assert_eq!(refused.hint().as_deref(), Some(hint));
    }
}
