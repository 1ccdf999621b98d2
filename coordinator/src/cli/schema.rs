//! `coordinator schema`.

use super::arguments::{SchemaArguments, SchemaFormat};
use super::common::print;
use crate::config::{file_schema, reference_page};
use crate::exit::{Exit, Stop};

pub fn schema(arguments: &SchemaArguments) -> Result<Exit, Stop> {
    print(&match arguments.format {
        SchemaFormat::Json => format!("{:#}\n", file_schema()),
        SchemaFormat::Markdown => reference_page(),
    })?;
    Ok(Exit::Done)
}
