//! The broker: joins everything into millstreamd.
