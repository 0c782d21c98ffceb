//! In which namespaces this operator acts.

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};

/// The namespaces that an operator acts in: those that are listed, or all where none is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope<'a>(pub &'a [String]);

impl Scope<'_> {
    /// Whether it acts in this one. Where it does not, it may have no rights and knows nothing of its objects.
    pub fn covers(self, namespace: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|watched| watched == namespace)
    }

    /// What reads all objects of a kind together: one for all namespaces, or one for each that is listed.
    pub fn apis<K>(self, client: &Client) -> Vec<Api<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        if self.0.is_empty() {
            return vec![Api::all(client.clone())];
        }
        self.0
            .iter()
            .map(|namespace| Api::namespaced(client.clone(), namespace))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_without_a_list_acts_everywhere_and_one_with_a_list_there_alone() {
        assert!(Scope(&[]).covers("farm"));
        let listed = ["farm".to_owned(), "team".to_owned()];
        assert!(Scope(&listed).covers("team") && !Scope(&listed).covers("other"));
    }
}
