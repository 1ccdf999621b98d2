//! The run's prompts as embeddings: each shard encodes some of the domains, all get all.

use tch::Tensor;
use ulda_model::TextBank;
use ulda_run::stage::Cursor;

use super::StageError;
use super::context::Context;
use crate::link::{At, Op};
use crate::state::{StateError, read_tensors, write_tensors};
use crate::templates::templates;

/// Scene and region embeddings of every domain. Encoded once per set of weights and prompt, then read from disk.
///
/// # Errors
/// When the weights have no text tower, a prompt is too long, or the collective broke.
pub fn domain_texts(context: &Context, cursor: Cursor) -> Result<TextBank, StageError> {
    let domains = &context.spec.config().domains;
    let shards = context.link.shards() as usize;
    let mine: Vec<usize> = (context.link.shard() as usize..domains.len())
        .step_by(shards)
        .collect();
    let prompts: Vec<Vec<&str>> = mine.iter().map(|&domain| domains[domain].prompt.all()).collect();
    let templates = templates(context.spec.config());
    context.activity(cursor, "encoding prompts");
    let weights = context.resources.clip_weights();
    let cache = &context.resources.text_cache;
    let classes = context.resources.classes.names();
    let bank = TextBank::compute_or_load(cache, &weights, &templates, &classes, &prompts)?;
    drop(weights);

    let mut tensors = std::collections::BTreeMap::new();
    for (row, domain) in mine.iter().enumerate() {
        tensors.insert(format!("{domain}.scene"), bank.scene.f_get(row as i64)?);
        tensors.insert(format!("{domain}.region"), bank.region.f_get(row as i64)?);
    }
    let message = write_tensors(&tensors, std::collections::HashMap::new())?;
    let at = At::step(cursor.stage, cursor.step);
    let messages = context
        .link
        .gather(at, Op::TextEmbeddings, &context.link.everyone(), &message)?;
    let mut all = std::collections::BTreeMap::new();
    for message in &messages {
        all.extend(read_tensors(message)?);
    }
    let stack = |what: &str| -> Result<Tensor, StageError> {
        let rows = (0..domains.len()).map(|domain| {
            let name = format!("{domain}.{what}");
            all.get(&name).ok_or(StateError::Missing(name))
        });
        let rows: Vec<&Tensor> = rows.collect::<Result<_, _>>()?;
        Ok(Tensor::f_stack(&rows, 0)?.f_to_device(context.resources.device)?)
    };
    Ok(TextBank {
        scene: stack("scene")?,
        region: stack("region")?,
    })
}
