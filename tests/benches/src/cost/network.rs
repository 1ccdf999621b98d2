//! What an exchange costs, between GPUs of a cluster and between processes of one host.

/// How processes reach each other.
#[derive(Clone, Copy, Debug)]
pub enum Network {
    Cluster(Cluster),
    SharedHost(SharedHost),
}

/// Nodes of a few GPUs, NVLink inside, one network between. Sums go through NCCL, small gathers over the mesh of TCP
/// connections. Bandwidths in bytes per second and direction, latencies in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Cluster {
    pub island: f64,
    /// Per GPU.
    pub link_bandwidth: f64,
    pub link_hop: f64,
    /// Per node: its GPUs share it.
    pub node_bandwidth: f64,
    pub node_hop: f64,
    pub gathers: Gathers,
    pub message: f64,
    pub wire: f64,
    pub sync: f64,
    pub loopback: f64,
}

/// The way that BatchNorm statistics and other small gathers take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gathers {
    /// Every rank sends to every other, as the TCP data plane does.
    Mesh,
    /// Through NCCL, for comparison; no such code exists.
    Nccl,
}

/// Processes that share the cores and the loopback of one host.
#[derive(Clone, Copy, Debug)]
pub struct SharedHost {
    pub cores: f64,
    pub message: f64,
    pub loopback: f64,
}

/// Ranks of a collective: `local` of them in each of `nodes` nodes, where `rivals` such collectives share a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranks {
    pub local: f64,
    pub nodes: f64,
    pub rivals: f64,
}

impl Ranks {
    pub fn count(&self) -> f64 {
        self.local * self.nodes
    }
}

impl Network {
    /// `count` neighbours, from `0` on in order of rank, `stride` apart.
    pub fn ranks(&self, count: u32, stride: u32) -> Ranks {
        let island = match self {
            Self::Cluster(cluster) => cluster.island,
            Self::SharedHost(_) => f64::INFINITY,
        };
        let (count, stride) = (f64::from(count), f64::from(stride));
        let local = count.min((island / stride).floor().max(1.0));
        Ranks {
            local,
            nodes: (count / local).ceil(),
            rivals: stride.min(island),
        }
    }

    /// Sum of `bytes` over `ranks`, on all of them.
    pub fn all_reduce(&self, ranks: Ranks, bytes: f64) -> f64 {
        let count = ranks.count();
        if count <= 1.0 {
            return 0.0;
        }
        match self {
            // A ring inside the node; between nodes a tree's latency and a ring's bytes.
            Self::Cluster(cluster) => {
                let around = 2.0 * (ranks.local - 1.0);
                let inside =
                    around * cluster.link_hop + around / ranks.local * bytes / cluster.link_bandwidth;
                let share = cluster.node_bandwidth / ranks.rivals;
                let between = 2.0 * ranks.nodes.log2() * cluster.node_hop
                    + 2.0 * (ranks.nodes - 1.0) / ranks.nodes * bytes / share;
                inside + between
            }
            Self::SharedHost(host) => {
                2.0 * count * (count - 1.0) * host.message / host.cores
                    + 2.0 * (count - 1.0) * bytes / host.loopback
            }
        }
    }

    /// `bytes` of each of `ranks`, on all of them.
    pub fn gather(&self, ranks: Ranks, bytes: f64) -> f64 {
        let count = ranks.count();
        if count <= 1.0 {
            return 0.0;
        }
        match self {
            Self::Cluster(cluster) => {
                let remote = count - ranks.local;
                let crossing = ranks.local * remote * bytes / cluster.node_bandwidth * ranks.rivals;
                match cluster.gathers {
                    Gathers::Mesh => {
                        let wire = if remote > 0.0 { cluster.wire } else { 0.0 };
                        let inside = ranks.local * (ranks.local - 1.0) * bytes / cluster.loopback;
                        cluster.sync + wire + (count - 1.0) * cluster.message + inside + crossing
                    }
                    Gathers::Nccl => {
                        let hops =
                            ranks.local.log2() * cluster.link_hop + ranks.nodes.log2() * cluster.node_hop;
                        // Each byte enters a node once and goes round on NVLink.
                        cluster.sync + hops + crossing / ranks.local + count * bytes / cluster.link_bandwidth
                    }
                }
            }
            Self::SharedHost(host) => {
                count * (count - 1.0) * (host.message / host.cores + bytes / host.loopback)
            }
        }
    }
}
