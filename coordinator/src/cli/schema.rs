//! `coordinator schema`.

use ulda_run::spec::json_schema;

use super::arguments::{SchemaArguments, SchemaFormat};
use super::common::print;
use crate::config::reference_page;
use crate::exit::{Exit, Stop};

pub fn schema(arguments: &SchemaArguments) -> Result<Exit, Stop> {
    print(&match arguments.format {
        SchemaFormat::Json => format!("{:#}\n", json_schema()),
        SchemaFormat::Markdown => reference_page(),
    })?;
    Ok(Exit::Done)
}
