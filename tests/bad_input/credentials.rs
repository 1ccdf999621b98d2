//! Tokens, certificates and keys, on the coordinator's side and on a worker's.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ulda_tests::{Program, World, binary, credentials};

use super::breaking::{cut, remove};
use super::case::{BAD_INPUT, Case, hold};

/// A whole folder `keys` in the world.
fn keys(world: &World) {
    credentials::make(&world.path("keys"), &[]);
}

fn broken(world: &World, file: &str, text: &str) {
    keys(world);
    std::fs::write(world.path("keys").join(file), text).unwrap();
}

/// Takes `file` from the folder of another run.
fn from_another_run(world: &World, file: &str) {
    keys(world);
    credentials::make(&world.path("others"), &[]);
    std::fs::copy(world.path("others").join(file), world.path("keys").join(file)).unwrap();
}

fn open_to_all(world: &World, file: &str) {
    keys(world);
    let path = world.path("keys").join(file);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

const WITH_KEYS: &[&str] = &["--credentials", "keys"];

const CASES: &[Case] = &[
    Case {
        name: "no credentials folder",
        breaks: |_| {},
        command: WITH_KEYS,
        code: BAD_INPUT,
        says: &["`keys` does not exist", "`coordinator credentials new` makes one"],
    },
    Case {
        name: "missing certificate",
        breaks: |world| {
            keys(world);
            remove(&world.path("keys/coordinator.pem"));
        },
        command: WITH_KEYS,
        code: BAD_INPUT,
        says: &[
            "`keys/coordinator.pem` is missing",
            "is this the run's credentials folder?",
        ],
    },
    Case {
        name: "empty token",
        breaks: |world| broken(world, "token", "\n"),
        command: WITH_KEYS,
        code: BAD_INPUT,
        says: &["`keys/token` is empty", "write a token into it"],
    },
    Case {
        name: "short token",
        breaks: |world| broken(world, "token", "secret\n"),
        command: WITH_KEYS,
        code: BAD_INPUT,
        says: &["`keys/token` holds no token: it is too short", "16 to 512"],
    },
    Case {
        name: "token of two lines",
        breaks: |world| broken(world, "token", "0123456789abcdef\n0123456789abcdef\n"),
        command: WITH_KEYS,
        code: BAD_INPUT,
        says: &["`keys/token` holds no token", "one line"],
    },
    Case {
        name: "token that everybody may read",
        breaks: |world| open_to_all(world, "token"),
        command: WITH_KEYS,
        code: BAD_INPUT,
        says: &["`keys/token` is a secret", "(mode 0644)", "chmod 600 keys/token"],
    },
    Case {
        name: "key that everybody may read",
        breaks: |world| open_to_all(world, "coordinator.key"),
        command: WITH_KEYS,
        code: BAD_INPUT,
        says: &[
            "`keys/coordinator.key` is a secret",
            "chmod 600 keys/coordinator.key",
        ],
    },
    Case {
        name: "certificate that is none",
        breaks: |world| broken(world, "coordinator.pem", "nonsense"),
        command: WITH_KEYS,
        code: BAD_INPUT,
        says: &[
            "`keys/coordinator.pem` holds no certificate in PEM form",
            "copy it again",
        ],
    },
    Case {
        name: "certificate cut short",
        breaks: |world| {
            keys(world);
            cut(&world.path("keys/coordinator.pem"), 200);
        },
        command: WITH_KEYS,
        code: BAD_INPUT,
        says: &[
            "`keys/coordinator.pem` holds no certificate in PEM form",
            "copy it again",
        ],
    },
    Case {
        name: "key that is none",
        breaks: |world| broken(world, "coordinator.key", "nonsense"),
        command: WITH_KEYS,
        code: BAD_INPUT,
        says: &[
            "`keys/coordinator.key` holds no private key in PEM form",
            "copy it again",
        ],
    },
    Case {
        name: "key of another certificate",
        breaks: |world| from_another_run(world, "coordinator.key"),
        command: WITH_KEYS,
        code: BAD_INPUT,
        says: &[
            "`keys/coordinator.key` does not fit `keys/coordinator.pem`",
            "both from one folder",
        ],
    },
    Case {
        name: "authority of another run",
        breaks: |world| from_another_run(world, "ca.pem"),
        command: WITH_KEYS,
        code: BAD_INPUT,
        says: &[
            "`keys/coordinator.pem` was not signed by the authority in `keys/ca.pem`",
            "from one folder",
        ],
    },
    Case {
        name: "expired certificate",
        breaks: |world| {
            keys(world);
            credentials::expire(&world.path("keys"), "coordinator");
        },
        command: WITH_KEYS,
        code: BAD_INPUT,
        says: &["`keys/coordinator.pem` expired", "days ago", "renew it"],
    },
    Case {
        name: "certificate that does not cover where workers dial",
        breaks: keys,
        command: &["--credentials", "keys", "--listen", "127.0.0.9:0"],
        code: BAD_INPUT,
        says: &[
            "`keys/coordinator.pem` covers localhost, 127.0.0.1, ::1, not `127.0.0.9`",
            "--host 127.0.0.9",
        ],
    },
    Case {
        name: "no TLS beyond this host",
        breaks: |_| {},
        command: &["--insecure-loopback", "--listen", "0.0.0.0:0"],
        code: BAD_INPUT,
        says: &[
            "would send the run's token in the clear to 0.0.0.0:0",
            "leave it out",
        ],
    },
    Case {
        name: "check finds them as well",
        breaks: |world| from_another_run(world, "coordinator.key"),
        command: &["check", "--credentials", "keys"],
        code: BAD_INPUT,
        says: &["--credentials", "does not fit", "both from one folder"],
    },
    Case {
        name: "credentials over others",
        breaks: keys,
        command: &["credentials", "new", "keys"],
        code: BAD_INPUT,
        says: &["`keys` is there already", "never overwritten"],
    },
    Case {
        name: "credentials for no host",
        breaks: |_| {},
        command: &["credentials", "new", "more", "--host", "node 7"],
        code: BAD_INPUT,
        says: &["`node 7` is neither a host name nor an address", "without a port"],
    },
];

#[test]
fn wrong_credentials() {
    hold(CASES, World::new);
}

/// What is broken in a worker's copy of the folder, the address it dials, and what it must say.
type WorkersCase = (&'static str, fn(&World), &'static str, &'static [&'static str]);

const WORKERS: &[WorkersCase] = &[
    (
        "no folder",
        |world| remove(&world.path("keys")),
        "https://127.0.0.1:1",
        &["`keys` does not exist"],
    ),
    (
        "empty token",
        |world| broken_copy(world, "token", ""),
        "https://127.0.0.1:1",
        &["`keys/token` is empty"],
    ),
    (
        "open key",
        |world| {
            let path = world.path("keys/worker.key");
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o604)).unwrap();
        },
        "https://127.0.0.1:1",
        &["`keys/worker.key` is a secret", "(mode 0604)", "chmod 600"],
    ),
    (
        "key of another certificate",
        |world| {
            std::fs::copy(world.path("keys/coordinator.key"), world.path("keys/worker.key")).unwrap();
        },
        "https://127.0.0.1:1",
        &["`keys/worker.key` does not fit `keys/worker.pem`"],
    ),
    (
        "the coordinator's certificate in a worker's place",
        |world| {
            for (from, to) in [
                ("coordinator.pem", "worker.pem"),
                ("coordinator.key", "worker.key"),
            ] {
                std::fs::copy(world.path("keys").join(from), world.path("keys").join(to)).unwrap();
            }
        },
        "https://127.0.0.1:1",
        &["`keys/worker.pem`", "hint:"],
    ),
    (
        "expired certificate",
        |world| credentials::expire(&world.path("keys"), "worker"),
        "https://127.0.0.1:1",
        &["`keys/worker.pem` expired", "days ago"],
    ),
    (
        "token in the clear to another host",
        |_| {},
        "http://10.0.0.1:7070",
        &[
            "`http://10.0.0.1:7070` would send the run's token in the clear",
            "https://",
        ],
    ),
    (
        "no address",
        |_| {},
        "10.0.0.1:7070",
        &["`10.0.0.1:7070` is not a coordinator's address", "https://"],
    ),
];

fn broken_copy(world: &World, file: &str, text: &str) {
    std::fs::write(world.path("keys").join(file), text).unwrap();
}

#[test]
fn a_worker_with_wrong_credentials_says_so_and_is_not_started_again() {
    for (name, breaks, address, says) in WORKERS {
        let world = World::new();
        keys(&world);
        breaks(&world);
        let said = join(&world, address, Path::new("keys")).expect(BAD_INPUT).said();
        for words in says.iter().chain(&["hint:"]) {
            assert!(said.contains(words), "{name}: no `{words}` in\n{said}");
        }
    }
}

fn join(world: &World, address: &str, folder: &Path) -> ulda_tests::Ended {
    let mut command = Command::new(binary("worker"));
    command
        .current_dir(world.path(""))
        .args([
            "join",
            "--run",
            "small",
            "--slot",
            "1",
            "--coordinator",
            address,
            "--credentials",
        ])
        .arg(folder);
    Program::start(command).finish()
}
