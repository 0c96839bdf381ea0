//! What has to be done with packets in the order of the capture, before connections are followed.

pub(crate) mod damage;
