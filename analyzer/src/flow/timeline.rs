//! Capture time in equal slices: what was sent in each, and which states sockets were in.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::analysis::{Interval, Intervals};
use crate::connection::{Connection, StateSpan, TcpState};
use crate::direction::Direction;
use crate::time::Timestamp;

use super::tcp::PATIENCE_SYN;

