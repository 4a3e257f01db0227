//! The broker: joins everything into millstreamd.
pub mod controller;
