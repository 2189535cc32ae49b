//! How the failure detector is tested: `world` plays network, clocks and processes; `cluster` runs small clusters in it
//! until nodes die or seem to, and `gossip` until all believe the same; `rules` and `probes` show single rules on one node,
//! which `solo` drives; `timeouts` holds the suspicion against the paper's formula; `lies` feeds nonsense.

mod cluster;
mod gossip;
mod lies;
mod probes;
mod rules;
mod solo;
mod timeouts;
mod world;
