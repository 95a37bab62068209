// The login page.  Consent is implied, as at an IAM where an admin approved the client.
import { errorPage, loginPage } from './pages.mjs';

const MAX_BODY = 16 * 1024;

async function form(ctx) {
  const chunks = [];
  let size = 0;
  for await (const chunk of ctx.req) {
    size += chunk.length;
    if (size > MAX_BODY) ctx.throw(413);
    chunks.push(chunk);
  }
  return new URLSearchParams(Buffer.concat(chunks).toString());
}

export function loginRoutes(provider, accounts, log) {
  return async (ctx, next) => {
    if (!ctx.path.startsWith('/login/') || !['GET', 'POST'].includes(ctx.method)) return next();
    let interaction;
    try {
      interaction = await provider.interactionDetails(ctx.req, ctx.res);
    } catch {
      ctx.status = 400;
      ctx.body = errorPage("expired", "This login page has expired.");
      return undefined;
    }
    const client = interaction.params.client_id;
    ctx.set('Cache-Control', 'no-store');
    ctx.type = 'html';
    if (ctx.method === 'GET') {
      ctx.body = loginPage({ client });
      return undefined;
    }
    const fields = await form(ctx);
    const username = (fields.get('username') ?? '').trim();
    const person = accounts.login(username, fields.get('password') ?? '');
    if (!person) {
      log(`login refused client=${client}`);
      ctx.status = 401;
      ctx.body = loginPage({ client, username, wrong: true });
      return undefined;
    }
    log(`login client=${client} sub=${person.subject}`);
    ctx.redirect(await provider.interactionResult(ctx.req, ctx.res, { login: { accountId: person.subject } }));
    ctx.status = 303;
    return undefined;
  };
}
