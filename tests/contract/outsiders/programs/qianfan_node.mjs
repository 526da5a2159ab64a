// What users of the npm package do. The platform and the keys come from the environment, as its manual says:
// QIANFAN_BASE_URL, QIANFAN_CONSOLE_API_BASE_URL, QIANFAN_V2_BASE_URL, QIANFAN_BEAR_TOKEN_URL, and a pair of keys.
import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {pathToFileURL} from 'node:url';

const require = createRequire(pathToFileURL(process.cwd() + '/'));
const {ChatCompletion, Completions, Embedding, Reranker, getBearToken} = await import(
    pathToFileURL(require.resolve('@baiducloud/qianfan')).href
);

const messages = [{role: 'user', content: 'one two 三 four'}]; // the echo engine says it back

const scenarios = {
    async chat() {
        const answer = await new ChatCompletion().chat({messages});
        assert.equal(answer.result, 'one two 三 four');
        assert.equal(answer.object, 'chat.completion');
        assert.equal(answer.usage.completion_tokens, 4);
    },

    async chat_of_a_named_model() {
        const answer = await new ChatCompletion().chat({messages}, 'ERNIE-Speed-8K');
        assert.equal(answer.result, 'one two 三 four');
    },

    async chat_of_an_endpoint() {
        const answer = await new ChatCompletion({Endpoint: 'echo'}).chat({messages});
        assert.equal(answer.result, 'one two 三 four');
    },

    async chat_stream() {
        const stream = await new ChatCompletion().chat({messages, stream: true});
        const chunks = [];
        for await (const chunk of stream) {
            chunks.push(chunk);
        }
        assert.equal(chunks.map(chunk => chunk.result).join(''), 'one two 三 four');
        assert.equal(chunks.filter(chunk => chunk.result).length, 4);
        assert.deepEqual(chunks.map(chunk => chunk.sentence_id), chunks.map((_, n) => n));
        assert.equal(chunks.at(-1).is_end, true);
        assert.equal(chunks.at(-1).usage.completion_tokens, 4);
    },

    async completion() {
        const answer = await new Completions().completions({prompt: 'one two three'}, 'SQLCoder-7B');
        assert.equal(answer.result, 'one two three');
    },

    async completion_stream() {
        let text = '';
        const asked = {prompt: 'one two three', stream: true};
        for await (const chunk of await new Completions().completions(asked, 'SQLCoder-7B')) {
            text += chunk.result;
        }
        assert.equal(text, 'one two three');
    },

    async embedding() {
        const answer = await new Embedding().embedding({
            input: ['The cat sleeps on the sofa.', 'A kitten naps on the couch.', 'Interest rates rose by a point.'],
        });
        const [cat, kitten, rates] = answer.data.map(row => row.embedding);
        assert.deepEqual(answer.data.map(row => row.index), [0, 1, 2]);
        assert.ok(product(cat, kitten) > product(cat, rates) + 0.2);
        assert.ok(answer.usage.total_tokens > 0);
    },

    async reranker() {
        const answer = await new Reranker().reranker({
            query: 'Where does the cat sleep?',
            documents: ['Interest rates rose by a point.', 'The cat sleeps on the sofa.'],
        });
        assert.equal(answer.results[0].index, 1);
        assert.ok(answer.results[0].relevance_score > answer.results[1].relevance_score);
    },

    async a_refusal_is_told() {
        const refused = await new ChatCompletion().chat({messages: []}).then(answer => answer, error => error);
        const told = refused instanceof Error ? refused.message : JSON.stringify(refused);
        assert.match(told, /336|message/);
    },
};

const withAppKeys = {
    // With an access key the package itself knows no chat model, and not its own default, for completions.
    async completion_of_the_default_model() {
        const answer = await new Completions().completions({prompt: 'one two three'});
        assert.equal(answer.result, 'one two three');
    },
};

const withAccessKeys = {
    async models_of_the_platform() {
        const client = new ChatCompletion();
        const answer = await client.chat({messages}, 'echo'); // a name that only the platform's list knows
        assert.equal(answer.result, 'one two 三 four');
    },

    async bearer_token() {
        const {token} = await getBearToken();
        assert.match(token, /^bce-v3\/ALTAK-/);
    },

    async v2_chat() {
        const answer = await new ChatCompletion({version: 'v2'}).chat({messages}, 'ernie-lite-8k');
        assert.equal(answer.choices[0].message.content, 'one two 三 four');
    },

    async v2_chat_stream() {
        let text = '';
        const stream = await new ChatCompletion({version: 'v2'}).chat({messages, stream: true}, 'ernie-lite-8k');
        for await (const chunk of stream) {
            text += chunk.choices[0]?.delta?.content ?? '';
        }
        assert.equal(text, 'one two 三 four');
    },
};

function product(a, b) {
    return a.reduce((sum, x, n) => sum + x * b[n], 0);
}

const chosen = {...scenarios, ...(process.env.QIANFAN_ACCESS_KEY ? withAccessKeys : withAppKeys)};
for (const [name, scenario] of Object.entries(chosen)) {
    const told = {name};
    try {
        await scenario();
    }
    catch (error) {
        told.error = String(error?.stack ?? error);
    }
    process.stdout.write(JSON.stringify(told) + '\n');
}
process.exit(0); // its limiters keep timers
