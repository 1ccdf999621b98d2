//! The run's state machine.
