// An OpenID provider shaped like INDIGO IAM with the WLCG token profile.
import { errorPage } from './pages.mjs';

export const SCOPES = [
  'openid', 'profile', 'email', 'offline_access', 'wlcg', 'wlcg.groups',
  'compute.read', 'compute.create', 'compute.modify', 'compute.cancel',
  'storage.read:/', 'storage.modify:/',
];
const ANY = 'https://wlcg.cern.ch/jwt/v1/any'; // the profile's audience where none was asked for
const DAY = 24 * 3600;
const DEFAULT_ACCESS_TOKEN_TTL = 120;

export function configuration({ clients, keys, store, accounts, interactionPolicy, errors }) {
  const lifetimes = new Map(clients.map((c) => [c.client_id, c.access_token_ttl ?? DEFAULT_ACCESS_TOKEN_TTL]));

  // IAM grants offline_access without prompt=consent, which the library demands (OpenID Connect
  // Core 1.0, section 11).  The prompt stays known, so that it may be sent, and asks nothing.
  const policy = interactionPolicy.base();
  policy.get('consent').checks.clear();

  return {
    adapter: function adapter(model) { return store.adapter(model); },
    clients: clients.map((client) => ({
      client_id: client.client_id,
      client_secret: client.client_secret,
      redirect_uris: client.redirect_uris ?? [],
      grant_types: client.grant_types ?? ['authorization_code', 'refresh_token'],
      response_types: (client.redirect_uris ?? []).length ? ['code'] : [],
      token_endpoint_auth_method: 'client_secret_basic', // in the body is taken too
    })),
    jwks: keys.jwks,
    cookies: { keys: [keys.cookie] },
    findAccount: accounts.find,
    scopes: SCOPES,
    responseTypes: ['code'],
    claims: {
      openid: ['sub', 'wlcg.ver'],
      profile: ['name', 'preferred_username'],
      email: ['email', 'email_verified'],
      'wlcg.groups': ['wlcg.groups'],
    },
    conformIdTokenClaims: false,
    routes: {
      authorization: '/authorize', token: '/token', jwks: '/jwk', introspection: '/introspect', revocation: '/revoke', userinfo: '/userinfo',
    },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      dPoP: { enabled: false },
      introspection: { enabled: true, allowedPolicy: (ctx, client, token) => token.clientId === client.clientId },
      pushedAuthorizationRequests: { enabled: false },
      resourceIndicators: {
        enabled: true,
        // Asked without one: the profile's `any`; of several granted ones, the first.
        defaultResource: (ctx, client, oneOf) => oneOf?.[0] ?? ANY,
        // Asked for no audience and for who somebody is: a token for the userinfo endpoint.
        useGrantedResource: (ctx) => !String(ctx.oidc.params.scope ?? '').split(' ').includes('openid'),
        // Like IAM, any audience may be asked for: those who receive the token check it.
        getResourceServerInfo: (ctx, resource, client) => {
          if (!resource.startsWith('https://')) throw new errors.InvalidTarget('the audience must be an https:// URL');
          return {
            audience: resource,
            scope: SCOPES.join(' '),
            accessTokenFormat: 'jwt',
            accessTokenTTL: lifetimes.get(client.clientId),
            jwt: { sign: { alg: 'RS256', kid: keys.jwks.keys[0].kid } },
          };
        },
      },
      revocation: { enabled: true, allowedPolicy: (ctx, client, token) => token.clientId === client.clientId },
      rpInitiatedLogout: { enabled: false }, // IAM has none
      userinfo: { enabled: true },
    },
    interactions: { policy, url: (ctx, interaction) => `/login/${interaction.uid}` },
    // Consent is implied: each login gets a grant of its own with all that was asked for, so that
    // the re-use of one login's refresh token ends that login only.
    loadExistingGrant: async (ctx) => {
      const { client, account, params, resourceServers } = ctx.oidc;
      if (ctx.oidc.entities.Grant) return ctx.oidc.entities.Grant;
      const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: account.accountId });
      grant.addOIDCScope(params.scope);
      for (const [resource, { scope }] of Object.entries(resourceServers)) grant.addResourceScope(resource, scope);
      await grant.save();
      return grant;
    },
    // The profile's claims in access tokens.
    extraTokenClaims: async (ctx, token) => {
      const claims = { 'wlcg.ver': '1.0' };
      const person = token.accountId && accounts.bySubject(token.accountId);
      if (person && token.scopes.has('wlcg.groups')) claims['wlcg.groups'] = person.groups;
      return claims;
    },
    formats: { customizers: { jwt: (ctx, token, jwt) => { jwt.payload.nbf = jwt.payload.iat; } } },
    issueRefreshToken: (ctx, client, source) => client.grantTypeAllowed('refresh_token') && source.scopes.has('offline_access'),
    rotateRefreshToken: () => true,
    expiresWithSession: () => false,
    pkce: { required: () => false },
    clientBasedCORS: () => false,
    renderError: (ctx, out) => { ctx.type = 'html'; ctx.body = errorPage(out.error, out.error_description); },
    ttl: {
      AccessToken: (ctx, token, client) => lifetimes.get(client.clientId),
      AuthorizationCode: 60,
      ClientCredentials: (ctx, token, client) => lifetimes.get(client.clientId),
      Grant: 30 * DAY,
      IdToken: 600,
      Interaction: 600,
      RefreshToken: 30 * DAY,
      Session: 8 * 3600,
    },
  };
}

// Let offline_access pass (see the policy above): the library drops it without prompt=consent.
export async function impliedConsent(ctx, next) {
  if (ctx.path === '/authorize' && ctx.method === 'GET') {
    const prompts = String(ctx.query.prompt ?? '').split(' ').filter(Boolean);
    if (!prompts.includes('none') && !prompts.includes('consent')) {
      ctx.query = { ...ctx.query, prompt: [...prompts, 'consent'].join(' ') };
    }
  }
  return next();
}
