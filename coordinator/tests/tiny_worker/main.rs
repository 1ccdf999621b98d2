//! A worker that speaks the control plane and trains nothing: it counts. For tests of the coordinator's shell
//! with real processes. `TINY_*` variables make it slow or faulty.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use ulda_credentials::WorkerCredentials as Credentials;
use ulda_credentials::channel::{AuthenticatedClient, CoordinatorAccess};
use ulda_proto::v1;
use ulda_proto::v1::attendance::Fact;
use ulda_proto::v1::directive::Order;
use ulda_run::spec::{Host, RunConfig, RunSpec};
use ulda_run::stage::{Course, Cursor, Stage};
use ulda_run::style_health::{ReferenceShift, StyleHealth};

type Anything = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Anything> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1).cloned()
    };
    match arguments.first().map(String::as_str) {
        Some("check") => {
            if let Ok(findings) = std::env::var("TINY_FINDINGS") {
                println!("{findings}");
                std::process::exit(78);
            }
            if let Ok(advice) = std::env::var("TINY_ADVICE") {
                println!("{advice}");
            }
            Ok(())
        }
        Some("predict" | "export") => {
            println!("{}", arguments.join(" "));
            std::process::exit(number("TINY_EXIT").unwrap_or(0));
        }
        Some("join") => {
            let coordinator = value("--coordinator").ok_or("no --coordinator")?;
            let run = value("--run").ok_or("no --run")?;
            let slot = value("--slot").ok_or("no --slot")?.parse()?;
            let credentials = value("--credentials").ok_or("no --credentials")?;
            let credentials = Credentials::read(Path::new(&credentials))?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            runtime.block_on(join(coordinator, run, slot, &credentials))
        }
        other => Err(format!("unknown verb {other:?}").into()),
    }
}

fn number(name: &str) -> Option<i32> {
    std::env::var(name).ok()?.parse().ok()
}

/// Whether this process is the one a `TINY_*_SLOT`-like variable means, on its first life.
fn is_meant(name: &str, slot: u32, directory: &Path) -> bool {
    if number(name) != i32::try_from(slot).ok() {
        return false;
    }
    let mark = directory.join(format!("{name}-was-here"));
    let first = !mark.exists();
    std::fs::write(mark, "").is_ok() && (first || std::env::var("TINY_ALWAYS").is_ok())
}

async fn join(
    coordinator: String,
    run: String,
    slot: u32,
    credentials: &Credentials,
) -> Result<(), Anything> {
    let tls = coordinator
        .starts_with("https:")
        .then(|| credentials.to_coordinator());
    let way = CoordinatorAccess::new(credentials.token(), tls, &format!("slot {slot}"));
    let mut client = way.connect(&Endpoint::from_shared(coordinator)?).await?;
    let request = v1::JoinRequest {
        run,
        slot,
        data_address: format!("127.0.0.1:{}", 40_000 + slot),
        device: "cpu".into(),
        process_id: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
        // Nobody answers there.
        metrics_address: format!("127.0.0.1:{}", 50_000 + slot),
    };
    let welcome = client.join(request).await?.into_inner();
    let config: RunConfig = toml::from_str(&welcome.spec_toml)?;
    let spec = RunSpec::resolve(config, Host { workers: 1, cores: 1 })?;
    let (facts, _) = mpsc::channel(1);
    let mut worker = Worker {
        id: welcome.worker,
        generation: 0,
        cursor: None,
        slowness: if number("TINY_SLOW_SLOT") == i32::try_from(slot).ok() {
            0.03
        } else {
            0.01
        },
        owns_first_shard: false,
        trains: false,
        formed: None,
        course: spec.course(),
        facts,
        client,
        domains: spec
            .config()
            .domains
            .iter()
            .map(|domain| domain.name.to_string())
            .collect(),
        sets: spec
            .config()
            .evaluate
            .sets
            .iter()
            .map(|set| set.name.to_string())
            .collect(),
    };
    println!("INFO joined as worker {}", welcome.worker);
    let life = Life {
        slot,
        directory: Path::new(&welcome.run_directory).to_owned(),
        heartbeat: Duration::from_millis(welcome.heartbeat_millis),
        pace: Duration::from_millis(number("TINY_STEP_MILLIS").map_or(2, i32::unsigned_abs).into()),
    };
    loop {
        match attend(&mut worker, &life).await {
            Ok(()) => return Ok(()),
            Err(cause) if std::env::var("TINY_STAYS").is_ok() => {
                println!("WARN {cause}; trying again");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(cause) => return Err(cause),
        }
    }
}

struct Life {
    slot: u32,
    directory: PathBuf,
    heartbeat: Duration,
    pace: Duration,
}

/// One attend stream, until it ends or the worker is told to stop.
async fn attend(worker: &mut Worker, life: &Life) -> Result<(), Anything> {
    let (facts, outbox) = mpsc::channel(64);
    worker.facts = facts;
    worker
        .say(Fact::Ready(v1::Ready {
            state: worker.cursor.map(claim),
            clip: Some(v1::ClipWeights {
                digest: "beef".into(),
                training: std::env::var("TINY_CLIP").unwrap_or_else(|_| "unmarked".into()),
            }),
        }))
        .await?;
    let mut client = worker.client.clone();
    let mut orders = client.attend(ReceiverStream::new(outbox)).await?.into_inner();
    if let Some(exit_code) = number("TINY_FAILS") {
        let cause = "clip.checkpoint: it is cut short".to_owned();
        worker.say(Fact::Failed(v1::Failed { cause, exit_code })).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        std::process::exit(exit_code);
    }
    if let Some(formed) = worker.formed.clone() {
        worker.say(Fact::Formed(formed)).await?;
    }
    let mut beat = tokio::time::interval(life.heartbeat);
    let mut step = tokio::time::interval(life.pace);
    loop {
        tokio::select! {
            order = orders.next() => {
                let order = order.ok_or("the coordinator hung up")??;
                worker.generation = order.generation;
                match order.order {
                    Some(Order::Form(form)) => worker.form(form).await?,
                    Some(Order::Go(_)) => worker.trains = true,
                    Some(Order::Fence(fence)) => worker.broke(fence.why).await?,
                    Some(Order::Stop(_)) if std::env::var("TINY_IGNORES_STOP").is_err() => return Ok(()),
                    Some(Order::Stop(_)) | None => {}
                }
            }
            _ = beat.tick() => worker.say(Fact::Heartbeat(v1::Heartbeat {})).await?,
            _ = step.tick(), if worker.trains => {
                if is_meant("TINY_DIES_IN_SLOT", life.slot, &life.directory) {
                    println!("2026-01-01T00:00:00Z ERROR read image `a.png`: it is cut short");
                    println!("  hint: copy the file again");
                    std::process::exit(number("TINY_EXIT").unwrap_or(1));
                }
                worker.train().await?;
            }
        }
    }
}

struct Worker {
    id: u64,
    generation: u64,
    cursor: Option<Cursor>,
    /// Seconds that it claims a fifteenth of a step took.
    slowness: f64,
    owns_first_shard: bool,
    trains: bool,
    /// What it said last of the generation it trains in, repeated on each further stream.
    formed: Option<v1::Formed>,
    course: Course,
    facts: mpsc::Sender<v1::Attendance>,
    client: AuthenticatedClient,
    domains: Vec<String>,
    sets: Vec<String>,
}

fn claim(cursor: Cursor) -> v1::StateClaim {
    let digest = format!("{}-{}", cursor.stage, cursor.step);
    v1::StateClaim {
        stage: cursor.stage.name().into(),
        step: cursor.step,
        digest,
    }
}

impl Worker {
    async fn say(&self, fact: Fact) -> Result<(), Anything> {
        let attendance = v1::Attendance {
            worker: self.id,
            generation: self.generation,
            fact: Some(fact),
            coordinator_term: 0,
        };
        Ok(self.facts.send(attendance).await?)
    }

    async fn form(&mut self, form: v1::Form) -> Result<(), Anything> {
        let first = form
            .shard_owner
            .first()
            .and_then(|owner| form.members.get(*owner as usize));
        self.owns_first_shard = first.is_some_and(|member| member.worker == self.id);
        if let Some(state) = &form.state {
            self.cursor = Some(Cursor {
                stage: state.stage.parse()?,
                step: state.step,
            });
        }
        let formed = v1::Formed { state: form.state };
        self.formed = Some(formed.clone());
        self.say(Fact::Formed(formed)).await
    }

    async fn broke(&mut self, cause: String) -> Result<(), Anything> {
        self.trains = false;
        self.formed = None;
        let state = self.cursor.map(claim);
        self.say(Fact::Broke(v1::Broke {
            cause,
            waiting_for: Vec::new(),
            state,
        }))
        .await
    }

    /// One step.
    async fn train(&mut self) -> Result<(), Anything> {
        let start = self.course.start().ok_or("nothing to do")?;
        let at = self.cursor.unwrap_or(start);
        let after = self.course.after(at);
        let done = at.step + 1;
        let value = |name: &str, value: f64| v1::Value {
            name: name.into(),
            value,
        };
        let fade = (-(done as f64) / 40.0).exp();
        let wobble = ((done * 7919) % 13) as f64 / 100.0;
        let losses = match at.stage {
            Stage::Simulate => vec![
                value("scene", 0.2 + 0.8 * fade + wobble),
                value("region", 0.5 + 2.0 * fade + wobble),
                value("pixel", 0.7 + 2.2 * fade + wobble),
                value("seg", 0.4 + fade + wobble),
                value("cross", 0.02 + 0.1 * fade),
            ],
            Stage::Pretrain | Stage::Adapt => vec![value("seg", 0.3 + 2.0 * fade + wobble)],
            Stage::Evaluate => Vec::new(),
        };
        let rates = vec![value(
            "head",
            0.01 * (1.0 - at.step as f64 / self.course.steps(at.stage) as f64).powf(0.9),
        )];
        let first = self.owns_first_shard;
        let phases = ["data", "forward", "backward", "reduce", "optimise"];
        let progress = v1::Progress {
            state: Some(v1::StateClaim {
                digest: String::new(),
                ..claim(after.unwrap_or(Cursor { step: done, ..at }))
            }),
            losses: if first { losses } else { Vec::new() },
            learning_rates: if first && at.stage == Stage::Adapt {
                rates
            } else {
                Vec::new()
            },
            phase_seconds: phases
                .iter()
                .zip(1..)
                .map(|(name, part)| value(name, f64::from(part) * self.slowness))
                .collect(),
            images: 2,
            activity: String::new(),
            styles: if first && at.stage == Stage::Simulate {
                self.styles(0.2 + 0.8 * fade)
            } else {
                Vec::new()
            },
        };
        self.say(Fact::Progress(progress)).await?;
        if first {
            self.report(at, after).await?;
        }
        self.cursor = after.or(self.cursor);
        if after.is_none() {
            self.say(Fact::Finished(v1::Finished {
                digest: "d1ce".repeat(16),
            }))
            .await?;
        }
        self.trains = after.is_some();
        Ok(())
    }

    /// Health of the styles of each domain; those of the last one are out of range.
    fn styles(&self, scene_loss: f64) -> Vec<v1::DomainStyles> {
        let last = self.domains.len().saturating_sub(1);
        let named = self.domains.iter().enumerate();
        let styles = named.map(|(index, domain)| {
            let health = StyleHealth {
                scene_loss,
                near_zero: if index == last { 0.4 } else { 0.05 },
                negative: 0.1,
                shift: 0.5,
                reference: (index == 0).then_some(ReferenceShift {
                    cosine: 0.6,
                    length: 1.5,
                }),
            };
            let values = health.measures().map(|(name, value)| v1::Value {
                name: name.into(),
                value,
            });
            v1::DomainStyles {
                domain: domain.clone(),
                health: values.collect(),
            }
        });
        styles.collect()
    }

    async fn report(&mut self, at: Cursor, after: Option<Cursor>) -> Result<(), Anything> {
        use v1::report_request::Fact as Report;
        let mut facts = Vec::new();
        if at.stage == Stage::Adapt && (at.step + 1).is_multiple_of(20) {
            facts.push(Report::Evaluation(Self::evaluation(
                "validation",
                "source",
                at,
                30 + at.step / 3,
            )));
        }
        if at.stage == Stage::Adapt && (at.step + 1).is_multiple_of(50) {
            facts.push(Report::Checkpoint(v1::CheckpointWritten {
                path: format!("checkpoints/adapt-{}", at.step + 1),
                state: Some(claim(at)),
                size_bytes: 4096,
            }));
        }
        if at.stage == Stage::Evaluate {
            let set = self
                .sets
                .get(usize::try_from(at.step)?)
                .cloned()
                .unwrap_or_default();
            for (model, right) in [("source-only", 40), ("adapted", 62), ("adapted-best", 60)] {
                facts.push(Report::Evaluation(Self::evaluation(
                    model,
                    &set,
                    at,
                    right + at.step * 3,
                )));
            }
        }
        if after.is_none_or(|after| after.stage != at.stage) {
            let digest = format!("{}-end", at.stage);
            facts.push(Report::Stage(v1::StageDone {
                stage: at.stage.name().into(),
                seconds: 12.5,
                digest,
            }));
        }
        for fact in facts {
            let request = v1::ReportRequest {
                worker: self.id,
                generation: self.generation,
                fact: Some(fact),
            };
            self.client.report(request).await?;
        }
        Ok(())
    }

    /// A made-up confusion matrix in which about `right` percent of every class is found.
    fn evaluation(model: &str, set: &str, at: Cursor, right: u64) -> v1::EvaluationDone {
        let cell = |index: u64| {
            let (truth, found) = (index / 19, index % 19);
            if truth == 16 || found == 16 {
                0
            } else if truth == found {
                right * 100 + truth * 90
            } else {
                (100 - right.min(99)) * 4 + index % 7
            }
        };
        v1::EvaluationDone {
            model: model.into(),
            set: set.into(),
            confusion: (0..361).map(cell).collect(),
            images: 12,
            state: Some(claim(at)),
            seconds: 1.5,
        }
    }
}
