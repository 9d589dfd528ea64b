// An OpenID provider (npm oidc-provider) on loopback, for tests and the demo. Keys are made at every start.
//
//   node idp.mjs PORT GATEWAY [ISSUER CLIENT CALLBACK]
//
// GATEWAY: the URL of the gateway that users log in for, http://127.0.0.1:8080. ISSUER: its own URL, if users reach it
// under another name than its address; with https, TLS ends in front of it. CLIENT: the gateway's client id. CALLBACK:
// the path at the gateway that users come back to.
import { generateKeyPairSync } from 'node:crypto';
import http from 'node:http';
import Provider from 'oidc-provider';

const [port, gateway, issuer = `http://127.0.0.1:${port}`, client = 'gateway', callbackPath = '/callback'] = process.argv.slice(2);
const readyWithin = performance.now();

// What the gateway's API is called among the provider's resources; its tokens are for the audience `inference`.
const API = 'urn:test:inference';

// Every user's password is the user's name.
const users = {
  'premium-user': { user_type: 'premium' },
  'basic-user': { user_type: 'basic' },
  // What a provider passes on whose users write their profile themselves.
  'hostile-user': { user_type: 'premium\r\nuser_class: premium', groups: ['premium'], 'user-type': 'premium' },
  // An ID token of more than one cookie.
  'large-user': { user_type: 'premium', groups: Array.from({ length: 150 }, (_, i) => `group-${i}-of-a-large-company`) },
};

const key = (alg, kid, type, options) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), alg, kid, use: 'sig',
});

const page = (title, body) => `<!DOCTYPE html><meta charset="utf-8"><title>${title}</title><h1>${title}</h1>${body}`;

const provider = new Provider(issuer, {
  clients: [{
    client_id: client,
    client_secret: 'a-secret-for-trials',
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    redirect_uris: [`${gateway}${callbackPath}`],
    post_logout_redirect_uris: [`${gateway}/`],
    token_endpoint_auth_method: 'client_secret_post',
  }],
  jwks: { keys: [key('RS256', 'rsa', 'rsa', { modulusLength: 2048 }), key('ES256', 'ec', 'ec', { namedCurve: 'P-256' })] },
  scopes: ['openid', 'offline_access', 'email', 'class'],
  claims: { openid: ['sub', 'user_type'], email: ['email', 'email_verified'], class: ['groups', 'user-type'] },
  // The claims are in the ID token, where a proxy can read them.
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  cookies: { keys: ['a-secret-for-trials'] },
  ttl: { AccessToken: 3600, IdToken: 3600, Session: 3600, Grant: 3600, Interaction: 600 },
  interactions: { url: (ctx, interaction) => `/login/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource: (ctx, form) => {
        ctx.body = page('Log out', `${form}<button id="logout" form="op.logoutForm" name="logout" value="yes">Log out</button>`);
      },
    },
    // Access tokens that are JWTs for the API behind the gateway, which its clients send as bearer tokens.
    resourceIndicators: {
      enabled: true,
      defaultResource: () => API,
      getResourceServerInfo: () => ({ scope: 'class', audience: 'inference', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } }),
      // Other clients' access tokens are for this provider's own endpoint of claims.
      useGrantedResource: (ctx, model) => model.scopes.has('class'),
    },
  },
  extraTokenClaims: (ctx, token) => ({ user_type: users[token.accountId]?.user_type }),
  findAccount: (ctx, id) => users[id] && { accountId: id, claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true, ...users[id] }) },
  // The gateway is the provider's own: nobody is asked whether it may know who they are.
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope('openid offline_access email class');
    grant.addResourceScope(API, 'class');
    await grant.save();
    return grant;
  },
});
for (const event of ['server_error', 'authorization.error', 'grant.error']) {
  provider.on(event, (ctx, error) => console.error(event, error.message, error.error_description ?? ''));
}

async function login(request, response) {
  await provider.interactionDetails(request, response);
  let failed = '';
  if (request.method === 'POST') {
    let body = '';
    for await (const chunk of request) body += chunk;
    const form = new URLSearchParams(body);
    const user = form.get('user');
    if (Object.hasOwn(users, user) && form.get('password') === user) {
      return provider.interactionFinished(request, response, { login: { accountId: user } }, { mergeWithLastSubmission: false });
    }
    failed = '<p>No such user, or another password.</p>';
  }
  response.writeHead(200, { 'content-type': 'text/html', 'cache-control': 'no-store' });
  response.end(page('Log in', `${failed}<form method="post"><input name="user" placeholder="user"> <input name="password" type="password" placeholder="password"> <button id="login">Log in</button></form>`));
}

const tls = issuer.startsWith('https:');
provider.proxy = tls;
const callback = provider.callback();
http.createServer((request, response) => {
  if (tls) request.headers['x-forwarded-proto'] = 'https';
  if (!request.url.startsWith('/login/')) return callback(request, response);
  login(request, response).catch((error) => {
    response.writeHead(400, { 'content-type': 'text/plain' });
    response.end(`${error.message}\n`);
  });
}).listen(Number(port), '127.0.0.1', () => {
  console.log(`ready ${issuer} after ${Math.round(performance.now() - readyWithin)} ms`);
});
