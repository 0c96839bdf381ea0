//! The one scale of confidences: how much of a state's signature was seen.
//!
//! A table or a rule names a step; its number stands here alone.

/// The packets state it themselves: a status code, a refusal, an alert.
pub const STATED: f64 = 0.97;

/// Every sign that makes up the signature was captured.
pub const PROVED: f64 = 0.95;

/// All signs but one were captured, and that one follows from the others.
pub const STRONG: f64 = 0.9;

/// The signs were measured and fit; a rarer cause gives the same.
pub const LIKELY: f64 = 0.85;

/// The signs that separate it from its look-alikes were seen in part.
pub const PROBABLE: f64 = 0.75;

/// More likely than the runner-up, no more.
pub const OPEN: f64 = 0.6;

/// As likely as the runner-up.
pub const EVEN: f64 = 0.5;

/// Nothing speaks for it but that the others fit less.
pub const DOUBTFUL: f64 = 0.3;
