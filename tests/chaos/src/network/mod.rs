//! A network of this process's own: each host has a kernel network stack of its own, and between them lies a
//! switch in this process that can lose, hold back, double and reorder packets.
//!
//! A host is a network namespace whose only interface is a TUN device; its other end is read here. So links go
//! down as real ones do (packets vanish, nobody is told), and everything is gone with this process, however it
//! ends: namespaces and devices have no names, only open files.

mod host;
mod switch;
mod weather;

pub use host::Host;
pub use switch::{Network, can_build};
pub use weather::{Fate, Side, Storm, Weather};
