//! The rules of a run, one case each.

#[path = "machine_rules/drive.rs"]
mod drive;
#[path = "machine_rules/ending.rs"]
mod ending;
#[path = "machine_rules/forming.rs"]
mod forming;
#[path = "machine_rules/losing.rs"]
mod losing;
