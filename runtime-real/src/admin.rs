//! `anvil admin`: users and access keys, over the port of any node.

use crate::endpoint::{NodeArgs, encoded};
use anyhow::Context as _;
use bytes::Bytes;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use std::io::Write as _;

const EXAMPLES: &str = "\
Examples:
  anvil admin user create ann                    prints an access key; its secret is told once
  anvil admin user create bob --access-key-id BOBKEY --secret-access-key ...
  anvil admin user list
  anvil admin key create ann
  anvil admin key delete AKEXAMPLE               it is refused from then on, on every node
  anvil admin user delete bob

--endpoint is the --http-port of any node. A node that listens beyond loopback wants the secret access key, as --bearer or
in ANVIL_SECRET_ACCESS_KEY.";

/// Which cluster, and whose keys.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AdminArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Users.
    #[command(subcommand)]
    User(UserCommand),
    /// Access keys.
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Clone, Debug, Subcommand)]
enum UserCommand {
    /// Make a user with an access key.
    Create {
        /// The user's name.
        name: String,
        /// By which access lists may name the user.
        #[arg(long)]
        email: Option<String>,
        #[command(flatten)]
        pair: Pair,
    },
    /// Show all users, without secrets.
    List,
    /// Remove a user and all access keys. What the user owns stays.
    Delete {
        /// The user's name.
        name: String,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum KeyCommand {
    /// Make another access key for a user.
    Create {
        /// The user's name.
        user: String,
        #[command(flatten)]
        pair: Pair,
    },
    /// Remove an access key.
    Delete {
        /// Its id.
        id: String,
    },
}

/// An access key that is given instead of drawn.
#[derive(Clone, Debug, Args)]
struct Pair {
    /// The public half. Drawn, if not given.
    #[arg(long, requires = "secret_access_key", value_name = "ID")]
    access_key_id: Option<String>,
    /// The secret half. Drawn, if not given. A command line is seen by other users.
    #[arg(long, requires = "access_key_id", value_name = "SECRET")]
    secret_access_key: Option<String>,
}

/// Does what was asked for, and prints the node's answer as JSON.
pub async fn administer(args: AdminArgs) -> anyhow::Result<()> {
    let (method, path, wish) = match &args.what {
        What::User(UserCommand::Create { name, email, pair }) => {
            let mut wish = pair_of(pair);
            wish["name"] = name.as_str().into();
            wish["email"] = email.clone().into();
            (Method::POST, "/-/users".to_owned(), Some(wish))
        }
        What::User(UserCommand::List) => (Method::GET, "/-/users".to_owned(), None),
        What::User(UserCommand::Delete { name }) => (Method::DELETE, format!("/-/users/{}", encoded(name)), None),
        What::Key(KeyCommand::Create { user, pair }) => {
            (Method::POST, format!("/-/users/{}/keys", encoded(user)), Some(pair_of(pair)))
        }
        What::Key(KeyCommand::Delete { id }) => (Method::DELETE, format!("/-/keys/{}", encoded(id)), None),
    };
    let body = wish.map(|wish| wish.to_string()).unwrap_or_default();
    let answer = args.node.node()?.send(method, &path, Bytes::from(body)).await?.check("the request")?;
    let told: Value = serde_json::from_slice(&answer.beginning).context("the answer is not JSON")?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&told)?)?;
    Ok(())
}

fn pair_of(pair: &Pair) -> Value {
    match (&pair.access_key_id, &pair.secret_access_key) {
        (Some(id), Some(secret)) => json!({ "access_key_id": id, "secret_access_key": secret }),
        _ => json!({}),
    }
}
