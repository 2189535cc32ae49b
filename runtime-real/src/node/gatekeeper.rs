//! Who may join: the transport's question, put to the cluster.

use super::neighbours::known_peers;
use crate::client::{Client, ClientError};
use crate::peers::{Admit, Place};
use anvil_core::state::Refusal as StateRefusal;
use anvil_core::state::{Answer, ClusterOperation, ClusterRefusal, Operation};
use anvil_core::topology::{DriveInfo, NodeInfo};
use anvil_core::types::{DriveId, GroupId};
use anvil_proto::join::{JoinRequest, Refusal};
use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

/// Asks the group *global*.
pub(super) struct Gatekeeper {
    pub(super) client: Client,
}

#[async_trait]
impl Admit for Gatekeeper {
    async fn admit(&self, request: &JoinRequest, secret_hash: [u8; 32]) -> Result<Place, Refusal> {
        let drive = |gib: &u32| DriveInfo { drive: DriveId(0), weight: u64::from(*gib) };
        let info = NodeInfo {
            name: request.name.clone(),
            zone: request.zone.clone(),
            address: request.address.to_string(),
            key: Sha256::digest(request.public_key).into(),
            drives: request.drives_gib.iter().map(drive).collect(),
            draining: false,
        };
        let operation = ClusterOperation::Join { token: secret_hash, node: request.node, info };
        match self.client.command(GroupId::GLOBAL, None, Operation::Cluster(operation)).await {
            Ok(Answer::Joined { first_drive }) => {
                let status = self.client.status().await.map_err(|error| refusal(&error))?;
                let nodes = status.topology.nodes.iter();
                let nodes = nodes.map(|(node, info)| (*node, info.name.as_str(), info.address.as_str()));
                Ok(Place { first_drive: first_drive.0, peers: known_peers(nodes, request.node) })
            }
            Ok(other) => Err(Refusal::TryAgain(format!("the cluster answered {other:?}"))),
            Err(error) => Err(refusal(&error)),
        }
    }
}

fn refusal(error: &ClientError) -> Refusal {
    match error {
        ClientError::Refused(StateRefusal::Cluster(why)) => match why {
            ClusterRefusal::TokenUnknown => Refusal::WrongToken,
            ClusterRefusal::TokenUsed | ClusterRefusal::TokenExpired => Refusal::UsedToken,
            ClusterRefusal::NameTaken => Refusal::NameTaken,
            ClusterRefusal::NoSuchNode
            | ClusterRefusal::LastNode
            | ClusterRefusal::Stale
            | ClusterRefusal::Full
            | ClusterRefusal::NoSuchDrive
            | ClusterRefusal::FirstDrive
            | ClusterRefusal::LastDrive
            | ClusterRefusal::NotLeaving
            | ClusterRefusal::NotFounded => Refusal::TryAgain(why.to_string()),
        },
        ClientError::Refused(other) => Refusal::Malformed(format!("{other:?}")),
        ClientError::Unavailable(why) => Refusal::TryAgain(format!("{why:?}")),
        ClientError::Stopping => Refusal::TryAgain("the node is stopping".to_owned()),
    }
}
