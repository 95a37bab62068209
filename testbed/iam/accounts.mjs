// Who has an account here, and what their tokens say, by the WLCG token profile 1.x.
import { createHash, timingSafeEqual } from 'node:crypto';

const digest = (text) => createHash('sha256').update(String(text)).digest();

export class Accounts {
  #people;

  constructor(people) {
    // mallory has an account on the nodes and none here: no subject.
    this.#people = people.filter((person) => person.subject);
  }

  bySubject(subject) {
    return this.#people.find((person) => person.subject === subject);
  }

  login(name, password) {
    const person = this.#people.find((candidate) => candidate.name === name);
    if (!person || !timingSafeEqual(digest(person.password), digest(password))) return undefined;
    return person;
  }

  // In the form that oidc-provider asks for.
  find = async (ctx, subject) => {
    const person = this.bySubject(subject);
    if (!person) return undefined;
    return {
      accountId: subject,
      claims: async () => ({
        sub: subject,
        name: person.full_name ?? `${person.name[0].toUpperCase()}${person.name.slice(1)}`,
        preferred_username: person.name,
        email: person.email,
        email_verified: true,
        'wlcg.ver': '1.0',
        'wlcg.groups': person.groups,
      }),
    };
  };
}
