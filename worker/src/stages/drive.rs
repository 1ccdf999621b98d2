//! Walks one shard through the stages that are left.

use std::time::{Duration, Instant, SystemTime};

use ulda_run::ids::Shard;
use ulda_run::spec::StyleSource;
use ulda_run::stage::{Course, Cursor, Stage};

use super::adapt::Adapt;
use super::context::{Context, ShardEvent};
use super::evaluate::Evaluate;
use super::memory::within_memory;
use super::panic_point::panic_if_asked;
use super::pretrain::Pretrain;
use super::simulate::{Measure, Simulate};
use super::{Extent, StageError, StageRun};
use crate::observe::StepDone;
use crate::progress::Report;
use crate::state::RunState;

/// Works from `state` to the end of the run. Always gives back the last complete state, also beside an error.
pub fn run(context: &Context, mut state: RunState) -> (RunState, Result<(), StageError>) {
    let course = context.spec.course();
    while !ended(&course, state.cursor) {
        if let Err(error) = run_stage(context, &course, &mut state) {
            return (state, Err(error));
        }
    }
    (state, Ok(()))
}

/// Whether nothing is left to do at `cursor`.
#[must_use]
pub fn ended(course: &Course, cursor: Cursor) -> bool {
    cursor.step >= course.steps(cursor.stage)
}

/// Position after the step at `cursor`; the last stage's end where the run ends.
fn following(course: &Course, cursor: Cursor) -> Cursor {
    course.after(cursor).unwrap_or(Cursor {
        step: cursor.step + 1,
        ..cursor
    })
}

fn run_stage(context: &Context, course: &Course, state: &mut RunState) -> Result<(), StageError> {
    let stage = state.cursor.stage;
    let started = Instant::now();
    let mut run = within_memory(context, state.cursor, || begin(context, state))?;
    let begun = state.cursor;
    // Where `state` was last written as a whole.
    let mut saved = begun;
    while state.cursor.stage == stage && !ended(course, state.cursor) {
        let began = SystemTime::now();
        panic_if_asked(state.cursor, Shard(context.link.shard()));
        let outcome = context
            .interrupt
            .check_between_steps()
            .and_then(|()| within_memory(context, state.cursor, || run.step(state.cursor.step)));
        let progress = match outcome {
            Ok(progress) => progress,
            // It may have come in the middle of an update, so the stage is not to be saved any more.
            Err(error @ StageError::OutOfMemory(_)) => {
                state.cursor = saved;
                return Err(error);
            }
            Err(error) => {
                // Before its first step a stage may hold more than the state it began from, which is what
                // everybody else has.
                if state.cursor != begun {
                    run.save(state, Extent::Midway)?;
                }
                return Err(error);
            }
        };
        context.meters.step_done(&StepDone {
            at: state.cursor,
            shard: context.link.shard(),
            began,
            phase_seconds: &progress.phase_seconds,
        });
        state.cursor = following(course, state.cursor);
        let over = state.cursor.stage != stage || ended(course, state.cursor);
        if over {
            run.save(state, Extent::Complete)?;
            saved = state.cursor;
        }
        if context.speaks {
            context.tell(ShardEvent::Progress {
                cursor: state.cursor,
                progress,
            });
        }
        if context.leads() && (over || checkpoint_due(context, state.cursor)) {
            if !over {
                run.save(state, Extent::Midway)?;
                saved = state.cursor;
            }
            context.checkpoint_clock.restart();
            context.tell(ShardEvent::Snapshot(state.share()));
        }
    }
    if context.leads() {
        let seconds = started.elapsed().as_secs_f64();
        context.tell(ShardEvent::Report(Report::StageDone {
            stage,
            seconds,
            digest: state.digest(),
        }));
    }
    Ok(())
}

fn begin<'a>(context: &'a Context, state: &RunState) -> Result<Box<dyn StageRun + 'a>, StageError> {
    Ok(match state.cursor.stage {
        Stage::Pretrain => Box::new(Pretrain::begin(context, state)?),
        Stage::Simulate if context.spec.config().simulate.styles == StyleSource::Learned => {
            Box::new(Simulate::begin(context, state)?)
        }
        Stage::Simulate => Box::new(Measure::begin(context, state)?),
        Stage::Adapt => Box::new(Adapt::begin(context, state)?),
        Stage::Evaluate => Box::new(Evaluate::begin(context, state)?),
    })
}

/// After some steps or some time, whichever comes first; each step of evaluate scores a whole set.
fn checkpoint_due(context: &Context, cursor: Cursor) -> bool {
    let config = &context.spec.config().checkpoint;
    cursor.stage == Stage::Evaluate
        || cursor.step.is_multiple_of(config.every)
        || context
            .checkpoint_clock
            .is_due(Duration::from_secs_f64(config.every_seconds))
}
