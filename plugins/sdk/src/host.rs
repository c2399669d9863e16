//! The functions of the host, by three implementations of the same names: the component's imports, the fake host of
//! `testing`, or none. Plain functions rather than a trait object, so that only the imports a policy really uses
//! remain in its component.

#[cfg(target_arch = "wasm32")]
mod component;
#[cfg(target_arch = "wasm32")]
pub use component::bindings;
#[cfg(target_arch = "wasm32")]
pub(crate) use component::imports::*;

#[cfg(all(not(target_arch = "wasm32"), feature = "testing"))]
pub(crate) use crate::testing::imports::*;

#[cfg(all(not(target_arch = "wasm32"), not(feature = "testing")))]
mod absent;
#[cfg(all(not(target_arch = "wasm32"), not(feature = "testing")))]
pub(crate) use absent::*;
