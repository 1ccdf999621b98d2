//! The run's state machine: who is in, who serves which shard, what is committed, and how a run goes on
//! when workers are lost.
//!
//! Pure. The shell hands over events with the time they were seen at (`Machine::handle`), carries out the
//! orders it drains (`Machine::drain_effects`) in their order, writing `Effect::Journal` to disk before
//! anything that follows it, and wakes the machine when `Machine::poll_timeout` says.
//!
//! Start with `machine.rs`: its table says what each event means in each phase. A phase owns its data
//! (`phase.rs`) and handles its events in the file of its name (`gather.rs`, `form.rs`, `train.rs`, `drain.rs`);
//! what all phases share is the `RunContext` (`context.rs`). Joining, losing and waiting concern several phases
//! and have files of their own (`slots.rs`, `loss.rs`, `timers.rs`).
//!
//! What holds whatever happens, in whatever order:
//! - one generation trains at a time, and its number is above every number before it;
//! - a generation is told to train only after each member said that it formed from one and the same state;
//! - no message of an older generation is obeyed;
//! - the next generation starts from the furthest state any of its workers holds, and is not formed before
//!   every live worker of the last one said what it holds;
//! - every wait has a deadline, so a run without further faults ends.

mod assign;
mod audit;
mod claim;
mod context;
mod drain;
mod effect;
mod event;
mod form;
mod gather;
pub mod ledger;
mod loss;
mod machine;
mod phase;
mod reason;
mod record;
mod resume;
mod roster;
mod rules;
mod slots;
mod snapshot;
mod tick;
mod timers;
mod train;

pub use assign::{Seat, assign};
pub use audit::{Flaw, TakenUp, audit};
pub use claim::Divergence;
pub use effect::{Asker, Directive, Effect, Formation, Member, RunOutcome};
pub use event::{ExitKind, MachineEvent, Stopping, Ticket};
pub use machine::Machine;
pub use phase::PhaseName;
pub use reason::{
    BreakReason, FailReason, FenceReason, FirstCause, LostReason, RefuseReason, StopReason, Verdict,
    WaitReason, WakeReason,
};
pub use record::{KnownWorker, Record, Resume, RunningGeneration, fold};
pub use rules::{Launching, MachineDeadlines, MachineRules, RestartBudget};
pub use snapshot::{MachineCounters, SlotView, Snapshot, WorkerView};
pub use tick::Tick;
