//! The QUIC and TLS settings of both directions: mutual TLS 1.3 under the cluster's CA, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;

use crate::config::Config;
use crate::identity::Identity;
use crate::limits;
use crate::net::BindError;

/// The protocol spoken inside, negotiated in the handshake: another number is another, incompatible protocol.
pub(crate) const ALPN: &[u8] = b"anabranch/1";

/// The guess before anything is measured. Lower than RFC 9002's third of a second: lost first packets of a handshake
/// are repeated sooner, so that a link is back sooner after an outage; on longer paths it costs a few packets.
const INITIAL_RTT: Duration = Duration::from_millis(100);

fn unusable(error: impl std::fmt::Display) -> BindError {
    BindError::Tls {
        why: error.to_string(),
    }
}

pub(crate) fn server(config: &Config) -> Result<ServerConfig, BindError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(
        roots(&config.identity)?.into(),
        provider.clone(),
    )
    .build()
    .map_err(unusable)?;
    let (chain, key) = config.identity.chain_and_key();
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // No resumption: every connection shows its certificate anew, and none outlives its validity.
    tls.send_tls13_tickets = 0;
    let crypto = QuicServerConfig::try_from(tls).map_err(unusable)?;
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server
        .transport_config(Arc::new(transport(config, false)?))
        .max_incoming(limits::HANDSHAKES_MAX)
        .incoming_buffer_size(limits::INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(limits::INCOMING_BYTES_MAX * limits::HANDSHAKES_MAX as u64);
    Ok(server)
}

pub(crate) fn client(config: &Config) -> Result<ClientConfig, BindError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (chain, key) = config.identity.chain_and_key();
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_root_certificates(roots(&config.identity)?)
        .with_client_auth_cert(chain, key)
        .map_err(unusable)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    let crypto = QuicClientConfig::try_from(tls).map_err(unusable)?;
    let mut client = ClientConfig::new(Arc::new(crypto));
    client.transport_config(Arc::new(transport(config, true)?));
    Ok(client)
}

fn roots(identity: &Identity) -> Result<RootCertStore, BindError> {
    let mut roots = RootCertStore::empty();
    for authority in identity.authorities() {
        roots.add(authority.clone()).map_err(unusable)?;
    }
    Ok(roots)
}

fn transport(config: &Config, dialling: bool) -> Result<TransportConfig, BindError> {
    let idle = IdleTimeout::try_from(config.idle_timeout).map_err(|_| BindError::Timing {
        why: "the idle timeout is longer than QUIC can say",
    })?;
    let mut congestion = CubicConfig::default();
    congestion.initial_window(limits::INITIAL_WINDOW_BYTES);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(limits::PEER_STREAMS_MAX))
        .datagram_receive_buffer_size(Some(limits::MEMBER_DATAGRAMS_BYTES_MAX))
        .datagram_send_buffer_size(limits::MEMBER_DATAGRAMS_BYTES_MAX)
        .stream_receive_window(VarInt::from_u32(limits::STREAM_RECEIVE_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(limits::CONNECTION_RECEIVE_WINDOW_BYTES))
        .send_window(limits::SEND_WINDOW_BYTES)
        .initial_rtt(INITIAL_RTT)
        .congestion_controller_factory(Arc::new(congestion))
        .max_idle_timeout(Some(idle))
        // One end's pings keep both ends alive, at half the packets.
        .keep_alive_interval(dialling.then_some(config.keep_alive));
    Ok(transport)
}
