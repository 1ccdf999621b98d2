//! The authors' own statistics files, read without Python.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use tch::Tensor;
use ulda_golden::{Fixture, Report, Tolerance};
use ulda_method::stylebank::{BankStyle, authors_file_name};

#[test]
fn authors_statistics_files() {
    let golden = Fixture::load("stage1");
    let mut report = Report::new("pickles");
    for (row, image) in ["aachen_000001_000019", "aachen_000000_000019"]
        .iter()
        .enumerate()
    {
        let path = ulda_golden::path(&format!("pickles/{image}_leftImg8bit.png.pkl"));
        assert!(path.ends_with(authors_file_name(&format!("{image}_leftImg8bit"))));
        let style = BankStyle::from_authors_pickle(&std::fs::read(&path).unwrap(), image).unwrap();
        let again = BankStyle::from_authors_pickle(&style.to_authors_pickle(), image).unwrap();
        assert_eq!(again, style);
        for (name, ours) in [("style_mean", &style.mean), ("style_std", &style.std)] {
            let recorded = golden
                .f32(&format!("after5.pin.{name}"))
                .get(0)
                .get(row as i64)
                .flatten(0, -1);
            report.compare(
                "styles",
                name,
                &Tensor::from_slice(ours),
                &recorded,
                Tolerance::Exact,
            );
        }
    }
    report.finish();
}
