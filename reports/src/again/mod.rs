//! The second reading of a capture: once it is known which frames matter, they are read again, for
//! the charts of single connections and for captures that hold nothing but the evidence.

pub mod evidence;
pub(crate) mod pcapng;
mod reread;
mod reread_plan;
pub mod trace;
