//! Requests in the words of a trace.

use anabranch_core::Request;

use crate::clients::Asked;

/// Who asks, and which write it is.
pub(crate) struct Whose<'a>(pub(crate) Option<usize>, pub(crate) &'a Asked);

impl std::fmt::Display for Whose<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(client) = self.0 {
            write!(f, "client {client}: ")?;
        }
        match self.1 {
            Asked::Write { number, .. } => write!(f, "w{number}, "),
            _ => Ok(()),
        }
    }
}

/// A request in short form.
pub(crate) struct Shown<'a>(pub(crate) &'a Request);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Request::Read { document, at, .. } => {
                write!(f, "read {document}")?;
                at.as_ref().map_or(Ok(()), |at| write!(f, " at {at}"))
            }
            Request::Versions { document, .. } => write!(f, "versions of {document}"),
            Request::Diff { document, .. } => write!(f, "compare {document}"),
            Request::Write {
                namespace,
                writes,
                idempotency,
                ack,
            } => {
                write!(f, "write {namespace}")?;
                if !ack.is_local() {
                    write!(f, " for {ack}")?;
                }
                if let Some(key) = idempotency {
                    write!(f, " as {}", key.as_str())?;
                }
                for write in writes {
                    write!(f, "; {} {:?}", write.key, write.intent)?;
                    if let Some(guard) = &write.guard {
                        write!(f, " if {guard:?}")?;
                    }
                    if let Some(base) = &write.base {
                        write!(f, " on {base}")?;
                    }
                }
                Ok(())
            }
            Request::Scan {
                namespace,
                prefix,
                after,
                limit,
                values,
            } => {
                write!(
                    f,
                    "list {namespace}/{prefix}* after {after:?}, {limit}, values: {values}"
                )
            }
            Request::Changes { after, .. } => write!(f, "changes after {}", after.0),
            Request::Verify { namespace } => write!(f, "verify {namespace}"),
            Request::SetAside { member, aside } => write!(f, "set {member} aside: {aside}"),
            Request::Place {
                namespace,
                datacenters,
                ..
            } => write!(f, "place {namespace} in {datacenters:?}"),
            Request::Configure { placements } => write!(f, "configure {placements:?}"),
        }
    }
}
