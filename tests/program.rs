//! What the program does, seen from outside: a module for each side of it.
//!
//! One program of tests instead of thirty: linked once, and its tests run side by side. `cargo test --release
//! --test program -- dataset` runs those of one module.

mod actions;
mod against;
mod batch;
mod browser;
mod chromium;
mod cli;
mod common;
mod compare;
mod dataset;
mod determinism;
mod errors;
mod evidence;
mod examples;
mod explain_frame;
mod floods;
mod frames;
mod host_evidence;
mod hostile_text;
mod how_made;
mod imports;
mod input;
mod layers;
mod links;
mod no_network;
mod own_rules;
mod packets;
mod parts;
mod readers;
mod readme;
mod redaction;
mod reports;
mod rotated;
mod spark;
mod wild;
mod words;
