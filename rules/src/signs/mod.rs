//! Judgement that several rules share: what one connection shows, what its neighbours say of it.

pub(crate) mod advice;
pub(crate) mod alive;
pub(crate) mod attempts;
pub(crate) mod causes;
pub(crate) mod goodbye;
pub(crate) mod handshake;
pub(crate) mod idle_close;
pub(crate) mod in_vain;
pub(crate) mod named;
pub(crate) mod restart;
pub(crate) mod waits;
