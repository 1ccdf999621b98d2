//! `s3-server ADDRESS NAME FOLDER`: the test server over HTTPS, as a program. `deploy/image/try` runs it beside the images.
//!
//! Its certificate is for NAME. FOLDER gets `authority.pem`, which clients have to trust, and the buckets. Key and bucket
//! are the library's.

use std::path::Path;
use std::process::ExitCode;

use ulda_s3::{TestCertificate, serve_https};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, name, folder] = arguments.as_slice() else {
        eprintln!("usage: s3-server ADDRESS NAME FOLDER");
        return ExitCode::from(2);
    };
    let folder = Path::new(folder);
    let certificate = TestCertificate::new(&[name]);
    let outcome = address
        .parse()
        .map_err(std::io::Error::other)
        .and_then(|address| {
            std::fs::write(folder.join("authority.pem"), &certificate.authority_pem)?;
            serve_https(address, &folder.join("buckets"), certificate)
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("s3-server: {cause}");
            ExitCode::FAILURE
        }
    }
}
