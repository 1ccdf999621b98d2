//! Whether this user may do all that a command is going to do, asked before it does half of it.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};

use super::connect::{Cluster, ObjectKind};
use super::error::{Blame, ClusterError};

impl Cluster {
    /// Refuses where one of these verbs on a kind is not granted.
    ///
    /// # Errors
    /// A right is missing, or the API does not answer.
    pub(super) async fn require(&self, rights: &[(&str, &ObjectKind)]) -> Result<(), ClusterError> {
        let mut missing = Vec::new();
        let mut reason = String::new();
        for (verb, kind) in rights {
            match self.may(verb, kind).await {
                Ok(None) => {}
                Ok(Some(why)) => {
                    missing.push(format!("{verb} {}", kind.plural));
                    reason = why;
                }
                // A cluster that reviews nothing says so when it is asked in earnest.
                Err(cause) if cause.blame() == Blame::Input => {}
                Err(cause) => return Err(cause),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        if reason.is_empty() {
            reason = "no role grants it".to_owned();
        }
        Err(ClusterError::Forbidden {
            what: missing.join(" and "),
            namespace: self.namespace.clone(),
            reason: format!("{reason}; nothing was changed"),
        })
    }

    /// Nothing, where the verb is granted; else why it is not.
    async fn may(&self, verb: &str, kind: &ObjectKind) -> Result<Option<String>, ClusterError> {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(self.namespace.clone()),
                    verb: Some(verb.to_owned()),
                    group: Some(kind.group.to_owned()),
                    resource: Some(kind.plural.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let what = format!("review the right to {verb} {}", kind.plural);
        let parameters = PostParams::default();
        let answer = self
            .ask("SelfSubjectAccessReview", &what, api.create(&parameters, &review))
            .await?;
        let status = answer.status.unwrap_or_default();
        Ok((!status.allowed).then(|| status.reason.unwrap_or_default()))
    }
}
