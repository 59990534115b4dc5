// FLAVA's two encoders as ONNX graphs, from a checkpoint's weights: token ids or pixels in, last_hidden_state out, the same
// function that `encodeText` and `encodeImage` compute with output 'hidden'. Two precisions:
// - fp32, as an export gives it
// - int8 as onnxruntime's quantize_dynamic makes it (DynamicQuantizeLinear, MatMulInteger, symmetric weights per channel),
//   with the q, k and v products sharing one quantized input; the patch convolution is a product over patches in both.
import type { EncoderConfig, ImageConfig, TextConfig } from '../../src/flava/config.ts'
import type { CheckpointTensors } from './checkpoint-tensors.ts'
import { MICROSOFT } from './onnx-model.ts'
import type { Attribute, Graph, GraphNode, GraphValue, Initializer, TensorType } from './onnx-model.ts'

export type Precision = 'int8' | 'fp32'

export const OUTPUT_NAME = 'last_hidden_state'

const INT8_MAX = 127

/** Input `input_ids` int64 [1, seqLen]. */
export function textGraph(tensors: CheckpointTensors, config: TextConfig, precision: Precision): Graph {
  const builder = new GraphBuilder(tensors, precision)
  const { hiddenSize, maxPositionEmbeddings } = config
  const embeddings = 'text_model.embeddings'
  const words = builder.gatherWords(`${embeddings}.word_embeddings.weight`, config.vocabSize, hiddenSize)
  // Token types are all 0 here, so their row is added to every position once, now.
  const positions = builder.floats('positions', [maxPositionEmbeddings, hiddenSize], async () => {
    const rows = (await tensors.read(`${embeddings}.position_embeddings.weight`)).slice()
    const tokenType = await tensors.read(`${embeddings}.token_type_embeddings.weight`)
    return rows.map((value, index) => value + (tokenType[index % hiddenSize] ?? 0))
  })
  const shape = builder.node('Shape', ['input_ids'])
  const seqLen = builder.node('Gather', [shape, builder.integers('one', [1])])
  const used = builder.node('Slice', [positions, builder.integers('zero', [0]), seqLen])
  const embedded = builder.layerNorm(builder.node('Add', [words, used]), `${embeddings}.LayerNorm`, config)
  return builder.finish(builder.encoder(embedded, 'text_model', config), config, {
    name: 'input_ids',
    type: 'i64',
    dims: [1, 'seqLen'],
  })
}

/** Input `pixel_values` f32 [1, 3, imageSize, imageSize]. */
export function imageGraph(tensors: CheckpointTensors, config: ImageConfig, precision: Precision): Graph {
  const builder = new GraphBuilder(tensors, precision)
  const { hiddenSize, imageSize, patchSize, numChannels, numPatches } = config
  const side = imageSize / patchSize
  const embeddings = 'image_model.embeddings'
  const cut = builder.reshape('pixel_values', [1, numChannels, side, patchSize, side, patchSize])
  const ordered = builder.node('Transpose', [cut], { perm: { ints: [0, 2, 4, 1, 3, 5] } })
  const patches = builder.reshape(ordered, [1, numPatches, numChannels * patchSize ** 2])
  const projected = builder.linear(
    patches,
    `${embeddings}.patch_embeddings.projection`,
    hiddenSize,
    numChannels * patchSize ** 2,
  )
  const cls = builder.floats('cls_token', [1, 1, hiddenSize], () => tensors.read(`${embeddings}.cls_token`))
  const positions = builder.floats('positions', [1, numPatches + 1, hiddenSize], () =>
    tensors.read(`${embeddings}.position_embeddings`),
  )
  const tokens = builder.node('Concat', [cls, projected], { axis: { int: 1 } })
  const embedded = builder.node('Add', [tokens, positions])
  return builder.finish(builder.encoder(embedded, 'image_model', config), config, {
    name: 'pixel_values',
    type: 'f32',
    dims: [1, numChannels, imageSize, imageSize],
  })
}

/** Nodes and initializers as they are asked for; a value is its name. */
class GraphBuilder {
  readonly #tensors: CheckpointTensors
  readonly #precision: Precision
  readonly #nodes: GraphNode[] = []
  readonly #initializers: Initializer[] = []
  readonly #quantized = new Map<string, readonly [string, string, string]>()
  /** Quantizing gives values and scales, which are asked for one after the other. */
  readonly #last: { name?: string; values?: Promise<QuantizedMatrix> } = {}

  constructor(tensors: CheckpointTensors, precision: Precision) {
    this.#tensors = tensors
    this.#precision = precision
  }

  finish(output: string, { hiddenSize }: EncoderConfig, input: GraphValue): Graph {
    this.#nodes.push({ op: 'Identity', inputs: [output], outputs: [OUTPUT_NAME], attributes: {}, domain: '' })
    const outputs: GraphValue[] = [{ name: OUTPUT_NAME, type: 'f32', dims: [1, 'tokens', hiddenSize] }]
    return { nodes: this.#nodes, initializers: this.#initializers, inputs: [input], outputs }
  }

  /** Pre-LN blocks and the final LayerNorm. */
  encoder(embedded: string, model: string, config: EncoderConfig): string {
    const { hiddenSize, intermediateSize, numLayers } = config
    let hidden = embedded
    for (let layer = 0; layer < numLayers; layer += 1) {
      const block = `${model}.encoder.layer.${layer}`
      const context = this.#attention(this.layerNorm(hidden, `${block}.layernorm_before`, config), block, config)
      const attended = this.linear(context, `${block}.attention.output.dense`, hiddenSize, hiddenSize)
      hidden = this.node('Add', [hidden, attended])
      const normed = this.layerNorm(hidden, `${block}.layernorm_after`, config)
      const up = this.linear(normed, `${block}.intermediate.dense`, intermediateSize, hiddenSize)
      const active = this.node('Gelu', [up], {}, MICROSOFT)
      hidden = this.node('Add', [hidden, this.linear(active, `${block}.output.dense`, hiddenSize, intermediateSize)])
    }
    return this.layerNorm(hidden, `${model}.layernorm`, config)
  }

  #attention(normed: string, block: string, { hiddenSize, numHeads, headDim }: EncoderConfig): string {
    const heads = (part: string, perm: number[]) => {
      const rows = this.linear(normed, `${block}.attention.attention.${part}`, hiddenSize, hiddenSize)
      return this.node('Transpose', [this.reshape(rows, [0, 0, numHeads, headDim])], { perm: { ints: perm } })
    }
    const [query, key, value] = [heads('query', [0, 2, 1, 3]), heads('key', [0, 2, 3, 1]), heads('value', [0, 2, 1, 3])]
    const scale = this.floats('attention_scale', [1], async () => Float32Array.of(1 / Math.sqrt(headDim)))
    const scores = this.node('Mul', [this.node('MatMul', [query, key]), scale])
    const weights = this.node('Softmax', [scores], { axis: { int: -1 } })
    const mixed = this.node('Transpose', [this.node('MatMul', [weights, value])], { perm: { ints: [0, 2, 1, 3] } })
    return this.reshape(mixed, [0, 0, hiddenSize])
  }

  /** x w^T + bias, weight [n, k] in the checkpoint. */
  linear(x: string, name: string, n: number, k: number): string {
    const product = this.#precision === 'fp32' ? this.#product(x, name, n, k) : this.#integerProduct(x, name, n, k)
    return this.node('Add', [product, this.floats(`${name}.bias`, [n], () => this.#tensors.read(`${name}.bias`))])
  }

  #product(x: string, name: string, n: number, k: number): string {
    const weight = this.floats(`${name}.weight`, [k, n], async () =>
      transpose(await this.#tensors.read(`${name}.weight`), new Float32Array(k * n), n, k),
    )
    return this.node('MatMul', [x, weight])
  }

  #integerProduct(x: string, name: string, n: number, k: number): string {
    const quantized = () => this.#quantize(`${name}.weight`, n, k)
    const weight = this.#initializer(`${name}.weight`, 'i8', [k, n], 1, async () => {
      const { values } = await quantized()
      return bytesOf(transpose(values, new Int8Array(k * n), n, k))
    })
    const scale = this.floats(`${name}.weight_scale`, [n], async () => (await quantized()).scales)
    const zeroPoint = this.#initializer(`${name}.weight_zero`, 'i8', [n], 1, async () => new Uint8Array(n))
    const [values, inputScale, inputZero] = this.#quantizeInput(x)
    const sums = this.node('MatMulInteger', [values, weight, inputZero, zeroPoint])
    const floats = this.node('Cast', [sums], { to: { int: 1 } })
    return this.node('Mul', [floats, this.node('Mul', [inputScale, scale])])
  }

  #quantizeInput(x: string): readonly [string, string, string] {
    const known = this.#quantized.get(x)
    if (known) return known
    const outputs = [`${x}_q`, `${x}_scale`, `${x}_zero`] as const
    this.#nodes.push({ op: 'DynamicQuantizeLinear', inputs: [x], outputs, attributes: {}, domain: '' })
    this.#quantized.set(x, outputs)
    return outputs
  }

  gatherWords(name: string, vocabSize: number, hiddenSize: number): string {
    if (this.#precision === 'fp32') {
      return this.node('Gather', [
        this.floats(name, [vocabSize, hiddenSize], () => this.#tensors.read(name)),
        'input_ids',
      ])
    }
    const quantized = () => this.#quantize(name, vocabSize, hiddenSize)
    const read = async () => bytesOf((await quantized()).values)
    const table = this.#initializer(name, 'i8', [vocabSize, hiddenSize], 1, read)
    const scales = this.floats(`${name}_scale`, [vocabSize, 1], async () => (await quantized()).scales)
    const rows = this.node('Cast', [this.node('Gather', [table, 'input_ids'])], { to: { int: 1 } })
    return this.node('Mul', [rows, this.node('Gather', [scales, 'input_ids'])])
  }

  layerNorm(x: string, name: string, { hiddenSize, layerNormEps }: EncoderConfig): string {
    const [gamma, beta] = ['weight', 'bias'].map((part) =>
      this.floats(`${name}.${part}`, [hiddenSize], () => this.#tensors.read(`${name}.${part}`)),
    )
    const attributes = { axis: { int: -1 }, epsilon: { float: layerNormEps } }
    return this.node('LayerNormalization', [x, gamma ?? '', beta ?? ''], attributes)
  }

  reshape(x: string, dims: readonly number[]): string {
    return this.node('Reshape', [x, this.integers(`shape_${dims.join('_')}`, dims)])
  }

  node(op: string, inputs: readonly string[], attributes: Record<string, Attribute> = {}, domain = ''): string {
    const output = `${op}_${this.#nodes.length}`
    this.#nodes.push({ op, inputs, outputs: [output], attributes, domain })
    return output
  }

  floats(name: string, dims: readonly number[], read: () => Promise<Float32Array>): string {
    return this.#initializer(name, 'f32', dims, 4, async () => bytesOf(await read()))
  }

  integers(name: string, values: readonly number[]): string {
    const read = async () => bytesOf(BigInt64Array.from(values, BigInt))
    return this.#initializer(name, 'i64', [values.length], 8, read)
  }

  #initializer(
    name: string,
    type: TensorType,
    dims: readonly number[],
    elementBytes: number,
    read: () => Promise<Uint8Array>,
  ): string {
    const sizeBytes = dims.reduce((product, size) => product * size, elementBytes)
    if (!this.#initializers.some((known) => known.name === name)) {
      this.#initializers.push({ name, type, dims, sizeBytes, read })
    }
    return name
  }

  #quantize(name: string, rows: number, columns: number): Promise<QuantizedMatrix> {
    if (this.#last.name !== name || !this.#last.values) {
      this.#last.name = name
      this.#last.values = this.#tensors.read(name).then((values) => quantizeByRow(values, rows, columns))
    }
    return this.#last.values
  }
}

interface QuantizedMatrix {
  values: Int8Array
  scales: Float32Array
}

/** Symmetric, one scale per row: the largest value becomes 127. */
function quantizeByRow(matrix: Float32Array, rows: number, columns: number): QuantizedMatrix {
  const values = new Int8Array(rows * columns)
  const scales = new Float32Array(rows).fill(1)
  for (let row = 0; row < rows; row += 1) {
    const source = matrix.subarray(row * columns, (row + 1) * columns)
    const largest = source.reduce((max, value) => Math.max(max, Math.abs(value)), 0)
    const scale = largest === 0 ? 1 : largest / INT8_MAX
    scales[row] = scale
    for (let column = 0; column < columns; column += 1) {
      values[row * columns + column] = Math.round((source[column] ?? 0) / scale)
    }
  }
  return { values, scales }
}

function transpose<T extends Float32Array | Int8Array>(matrix: T, out: T, rows: number, columns: number): T {
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) out[column * rows + row] = matrix[row * columns + column] ?? 0
  }
  return out
}

function bytesOf(values: ArrayBufferView): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}
