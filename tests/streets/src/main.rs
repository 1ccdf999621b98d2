//! `streets OUT`: makes Cityscapes, ACDC and GTA5 trees of drawn street scenes.
//!
//! Exit codes: 0 made, 1 the disk refused, 78 the arguments cannot be met.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ulda_streets::{Request, Size, StreetsError, Summary, TRAIN_CLASSES, generate};

/// Draw street scenes with pixel-exact labels in the formats of Cityscapes, ACDC and GTA5
#[derive(Debug, Parser)]
#[command(name = "streets", version)]
struct Arguments {
    /// Folder that receives cityscapes/, acdc/ and gta5/
    out: PathBuf,
    /// Everything follows from this number
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Size of the Cityscapes and ACDC pictures
    #[arg(long, default_value = "256x128", value_name = "WIDTHxHEIGHT")]
    size: String,
    /// Cityscapes training scenes
    #[arg(long, default_value_t = 24, value_name = "COUNT")]
    train: u32,
    /// Cityscapes validation scenes
    #[arg(long, default_value_t = 8, value_name = "COUNT")]
    val: u32,
    /// ACDC scenes per condition (fog, night, rain, snow), in each of train and val
    #[arg(long, default_value_t = 4, value_name = "COUNT")]
    per_condition: u32,
    /// GTA5 scenes, one in four of them for validation
    #[arg(long, default_value_t = 8, value_name = "COUNT")]
    gta: u32,
    /// Size of the GTA5 pictures [default: as --size]
    #[arg(long, value_name = "WIDTHxHEIGHT")]
    gta_size: Option<String>,
    /// Threads to draw on; 0 takes all, the files are the same for any number
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    threads: usize,
    /// Write into a folder that is not empty
    #[arg(long)]
    force: bool,
}

impl Arguments {
    fn request(self) -> Result<Request, StreetsError> {
        let size: Size = self.size.parse()?;
        let gta_size = self.gta_size.map_or(Ok(size), |text| text.parse())?;
        let Self {
            out,
            seed,
            train,
            val,
            per_condition,
            gta,
            force,
            threads,
            ..
        } = self;
        Ok(Request {
            out,
            seed,
            size,
            gta_size,
            train,
            val,
            per_condition,
            gta,
            force,
            threads,
        })
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(fault) => {
            let asked_for_help = !fault.use_stderr();
            return match fault.print() {
                Ok(()) if asked_for_help => ExitCode::SUCCESS,
                Ok(()) => ExitCode::from(78),
                Err(_) => ExitCode::FAILURE,
            };
        }
    };
    let made = arguments
        .request()
        .and_then(|request| generate(&request).map(|summary| (request, summary)));
    match made {
        Ok((request, summary)) => {
            report(&request, &summary);
            ExitCode::SUCCESS
        }
        Err(fault) => {
            let code = if fault.is_request() { 78 } else { 1 };
            eprintln!("streets: {:#}", anyhow::Error::new(fault));
            ExitCode::from(code)
        }
    }
}

fn report(request: &Request, summary: &Summary) {
    let size = |s: Size| format!("{}x{}", s.width, s.height);
    let tree = |name: &str| request.out.join(name).display().to_string();
    if summary.cityscapes_train + summary.cityscapes_val > 0 {
        println!(
            "{}: {} train, {} val, {}",
            tree("cityscapes"),
            summary.cityscapes_train,
            summary.cityscapes_val,
            size(request.size)
        );
    }
    if summary.acdc > 0 {
        let each = request.per_condition;
        println!(
            "{}: fog, night, rain, snow with {each} train and {each} val each, {}",
            tree("acdc"),
            size(request.size)
        );
    }
    if summary.gta5 > 0 {
        println!(
            "{}: {} scenes, {}",
            tree("gta5"),
            summary.gta5,
            size(request.gta_size)
        );
    }
    let present = TRAIN_CLASSES
        .iter()
        .filter(|&&id| summary.pixels[id as usize] > 0)
        .count();
    println!("{present} of 19 classes occur");
}
