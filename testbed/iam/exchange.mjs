// Token exchange (RFC 8693), as IAM does it: a client narrows an access token of its own to one
// audience and fewer scopes.  IAM 1.12 demands `scope`, knows no actor, and gives no refresh token.
import { createPublicKey, verify } from 'node:crypto';

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';

function verified(token, key, issuer) {
  const [header, payload, signature] = String(token).split('.');
  const good = signature && verify('RSA-SHA256', Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url'));
  if (!good) return undefined;
  const claims = JSON.parse(Buffer.from(payload, 'base64url'));
  return claims.iss === issuer && claims.exp > Date.now() / 1000 ? claims : undefined;
}

export function tokenExchange(provider, configuration, keys, errors) {
  const key = createPublicKey({ key: keys.jwks.keys[0], format: 'jwk' });
  const { getResourceServerInfo } = configuration.features.resourceIndicators;

  provider.registerGrantType(EXCHANGE, async (ctx) => {
    const { client, params } = ctx.oidc;
    if (params.subject_token_type !== ACCESS_TOKEN) throw new errors.InvalidRequest('subject_token_type must be an access token');
    // One without an audience is opaque here, and kept; the others are JWTs.
    const kept = await provider.AccessToken.find(params.subject_token);
    const claims = kept
      ? { client_id: kept.clientId, sub: kept.accountId, scope: kept.scope }
      : verified(params.subject_token, key, provider.issuer);
    if (!claims || claims.client_id !== client.clientId) throw new errors.InvalidRequest('subject_token is not valid');
    const asked = (params.scope ?? '').split(' ').filter(Boolean);
    const had = new Set((claims.scope ?? '').split(' '));
    if (!asked.length || asked.some((scope) => scope === 'offline_access' || !had.has(scope))) {
      throw new errors.InvalidScope('Up-scoping is not allowed.', params.scope);
    }
    const token = new provider.AccessToken({ accountId: claims.sub, client, gty: 'token_exchange', scope: asked.join(' ') });
    const info = await getResourceServerInfo(ctx, params.resource ?? '', client);
    token.resourceServer = new provider.ResourceServer(params.resource, info);
    ctx.oidc.entity('AccessToken', token);
    ctx.body = {
      access_token: await token.save(),
      issued_token_type: ACCESS_TOKEN,
      expires_in: token.expiration,
      scope: token.scope,
      token_type: token.tokenType,
    };
  }, ['subject_token', 'subject_token_type', 'requested_token_type', 'scope', 'resource']);
}
