//! How people outside the mesh's network get to the application.

use std::net::SocketAddr;

use anyhow::{Result, bail};

use crate::exercise::claims::{HOST, ISSUER, Issuer};
use crate::front::{Behind, Front};
use crate::world::World;

/// Puts the gateway and the identity provider behind the front's ports; and commands that use them. Both keep their names,
/// which their cookies and redirects go by. Callers within the mesh have no port outside: what they send is sent from there.
pub(super) fn open(world: &World, gateway: SocketAddr, issuer: &Issuer) -> Result<(Behind, String)> {
    let front = Front::behind(&world.handle, world.place.directory(), gateway, issuer.address())?;
    let &[application, provider] = front.ports() else { bail!("the front does not have two ports") };
    let tokens = issuer.tokens()?;
    let token = world.place.write("premium-user.token", tokens.of("premium"))?;
    let (token, authority) = (token.display(), world.plane.authority().display());
    let idp = ISSUER.trim_start_matches("https://");
    let enter = world.place.entered()?;
    let how = format!(
        "\
The AI application is running, in a network of its own: https://{HOST}/home

In a browser, as premium-user or basic-user (the passwords are the same words):

  chromium --user-data-dir=$(mktemp -d) --ignore-certificate-errors \\
    --host-resolver-rules='MAP {HOST} 127.0.0.1:{application}, MAP {idp} 127.0.0.1:{provider}' https://{HOST}/home

By its API, with a token of premium-user's that is valid for an hour:

  curl --cacert {authority} --connect-to {HOST}:443:127.0.0.1:{application} \\
    -H \"authorization: Bearer $(cat {token})\" \\
    -F picture=@examples/ai-application/services/page/samples/harbour.jpg \\
    https://{HOST}/api/picture -o painted.png -D -

Within the mesh's network, where the application asks the gateway to the models, in JSON that becomes gRPC:

  {enter} \\
    curl -s --noproxy '*' http://istio-ingressgateway.istio-system.svc.cluster.local:8008/v2/models/pt-style-transfer \\
    -H 'x-model-format-pytorch: true'"
    );
    Ok((front, how))
}
