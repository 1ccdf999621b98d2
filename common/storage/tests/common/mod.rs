//! A storage on a server of its own.

use std::sync::OnceLock;
use std::time::Duration;

use ulda_s3::Server;
use ulda_storage::Settings;

pub fn settings(server: &Server) -> Settings {
    static CREDENTIALS: OnceLock<()> = OnceLock::new();
    CREDENTIALS.get_or_init(|| {
        for (name, value) in server.environment() {
            if name.contains("ACCESS_KEY") {
                // SAFETY: before any other thread of this process reads its environment.
                unsafe { std::env::set_var(name, value) };
            }
        }
    });
    Settings {
        endpoint: Some(server.endpoint()),
        region: None,
        path_style: None,
        allow_http: Some(true),
        request: Duration::from_secs(5),
        deadline: Duration::from_secs(20),
    }
}
